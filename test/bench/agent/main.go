// Copyright The Prometheus Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/ackwal/ackwal/test/bench/agent/exposition"
	"github.com/ackwal/ackwal/test/bench/agent/peers"
)

func main() {
	err := start(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errInvalid):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "agent benchmark:", err)
		os.Exit(2)
	}
}

// start plays the role that the first argument names, if it names one.
func start(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "targets":
			return serveTargets(args[1:])
		case "receivers":
			return serveReceivers(args[1:])
		case "burner":
			return burn(args[1:])
		}
	}
	s, err := parseSettings(args)
	if err != nil {
		return err
	}
	return runAll(s)
}

func serveTargets(args []string) error {
	var s peers.TargetSettings
	f := flag.NewFlagSet("targets", flag.ContinueOnError)
	f.IntVar(&s.Series, "series", 0, "")
	f.IntVar(&s.Sizes.Large, "large", 0, "")
	f.IntVar(&s.Sizes.Small, "small", 0, "")
	f.Float64Var(&s.Churn, "churn", 0, "")
	f.BoolVar(&s.Compress, "compress", false, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	return peers.ServeTargets(os.Stdout, s)
}

func targetArgs(s peers.TargetSettings) []string {
	return []string{
		"targets", fmt.Sprintf("-series=%d", s.Series), fmt.Sprintf("-large=%d", s.Sizes.Large), fmt.Sprintf("-small=%d", s.Sizes.Small),
		fmt.Sprintf("-churn=%g", s.Churn), fmt.Sprintf("-compress=%t", s.Compress),
	}
}

func serveReceivers(args []string) error {
	f := flag.NewFlagSet("receivers", flag.ContinueOnError)
	endpoints := f.Int("endpoints", 1, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	return peers.ServeReceivers(os.Stdout, *endpoints)
}

// burn keeps all cores busy for some time, or until it is killed.
func burn(args []string) error {
	f := flag.NewFlagSet("burner", flag.ContinueOnError)
	limit := f.Duration("for", time.Minute, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	end := time.Now().Add(*limit)
	for range runtime.NumCPU() {
		go func() {
			for time.Now().Before(end) { //nolint:revive // Being busy is its work.
			}
		}()
	}
	time.Sleep(time.Until(end))
	return nil
}

// sizesOf are the sizes of pages that the settings ask for.
func (s settings) sizesOf() exposition.Sizes {
	return exposition.Sizes{Large: s.large, Small: s.smallPages}
}
