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

// Command consumer shows what a program that knows only stock's packages gets with
// the fork in their place, and without it.
//
// It runs itself as such a program, in two shapes: stock's agent with its remote
// storage, and a writer of a log of its own that gives its directory to
// remote.NewStorage. Each has two components in one process with two endpoints each,
// and goes through an outage of one endpoint in which the log is truncated, the
// configuration is reloaded twice, the program is restarted and killed; through one with
// a limit on the log's size; and through one at whose end the log is damaged. It counts
// what arrives.
//
// With -expect=all everything has to; with -expect=loss something has to be missing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

const (
	timeout       = time.Minute
	flush         = 5 * time.Second
	segmentSize   = 32 << 10
	truncateEvery = 200 * time.Millisecond
	truncations   = 10                  // In one outage, before anything else happens.
	atKill        = 4 * 60 * seriesEach // Samples that may come twice because of a kill.
	metric        = "consumer_sample"
	components    = 2
	endpoints     = 2
)

// The shapes of programs.
const (
	stockAgent = "stock-agent"
	ownLog     = "own-log"
)

// lateDefinitions is set if a log's first samples may come before what says of which
// series they are: stock loses them, which is not what is to be shown of it.
const lateDefinitions = "CONSUMER_LATE_DEFINITIONS"

// begin is the time of the first sample in ms, the same for all runs of a program.
var begin int64

func main() {
	expect := flag.String("expect", "all", "all, or loss")
	shape := flag.String("program", "", "be a program of that shape, in the directories that follow")
	flag.Int64Var(&begin, "begin", time.Now().Add(time.Hour).UnixMilli(), "time of the first sample, ms")
	flag.Parse()
	if *shape != "" {
		if err := runProgram(*shape, flag.Args()); err != nil {
			fmt.Fprintf(os.Stderr, "consumer: %s: %v\n", *shape, err)
			os.Exit(1)
		}
		return
	}
	failed := false
	for _, shape := range []string{stockAgent, ownLog} {
		var env []string
		if *expect == "all" {
			env = []string{lateDefinitions + "=1"}
		}
		err := try(shape, env, outage)
		switch lost := errors.As(err, new(*lossError)); {
		case *expect == "loss" && lost:
			fmt.Printf("%s, outage: %v\n", shape, err)
			continue
		case *expect == "all" && err == nil:
			fmt.Printf("%s, outage: everything delivered\n", shape)
			err = try(shape, []string{"PROMETHEUS_REMOTE_WRITE_WAL_MAX_SIZE=256KB"}, limit)
		case err == nil:
			err = errors.New("nothing was lost")
		}
		if err == nil {
			fmt.Printf("%s, limit on the log: everything delivered or counted\n", shape)
			err = try(shape, nil, damage)
		}
		if err != nil {
			failed = true
			fmt.Printf("%s: FAILED: %v\n", shape, err)
			continue
		}
		fmt.Printf("%s, damage in the log: all but what was damaged delivered, and that counted\n", shape)
	}
	if failed {
		os.Exit(1)
	}
}

func try(shape string, env []string, do func(*trial) error) error {
	t, err := newTrial(shape)
	if err != nil {
		return err
	}
	t.env = env
	defer t.end()
	return do(t)
}

// outage is an endpoint that does not answer while everything happens to the program.
// Nothing is lost, and nothing comes twice but by the kill; the other endpoint does not
// notice; and the log is short again soon after.
func outage(t *trial) error {
	const smaller, other = "capacity: 50", "capacity: 70, max_shards: 3"
	t.start()
	t.apply(smaller, "{}")
	t.commit(60)
	t.arrived(0, 1)
	t.refuse(1, true)
	t.commitAndTruncate(truncations)
	t.apply(other, "{}")
	t.commitAndTruncate(2)
	t.apply(other, "{X-Trial: changed}")
	t.commitAndTruncate(2)
	t.stop()
	t.start()
	t.apply(other, "{X-Trial: changed}")
	t.commitAndTruncate(3)
	t.twice(0)
	t.kill()
	t.start()
	t.apply(other, "{X-Trial: changed}")
	t.commitAndTruncate(3)
	t.refuse(1, false)
	t.commit(1)
	t.arrived(0, 1)
	t.twice(1) // What was sent when the program was killed may come again.
	t.sentTimestampIsTrue()
	t.logIsShort()
	t.stop()
	return t.err
}

// damage is an outage after which a byte of the log is another. What is lost by that is
// no more than what lies around it, and is counted.
func damage(t *trial) error {
	t.start()
	t.apply("capacity: 50", "{}")
	t.commit(20)
	t.arrived(0, 1)
	t.refuse(1, true)
	t.commitAndTruncate(2 * truncations)
	t.stop()
	t.flipByte()
	t.start()
	t.apply("capacity: 50", "{}")
	t.refuse(1, false)
	t.commit(1)
	t.arrived(0)
	t.restIsCounted("prometheus_remote_storage_unreadable_total", t.committed*seriesEach/4, seriesEach*60)
	t.stop()
	return t.err
}

// limit is an outage for which the log has no room. What is forfeited is counted.
func limit(t *trial) error {
	t.start()
	t.apply("capacity: 50", "{}")
	t.commit(20)
	t.arrived(0, 1)
	t.refuse(1, true)
	t.commitAndTruncate(6 * truncations)
	t.refuse(1, false)
	t.commit(1)
	t.arrived(0)
	t.restIsCounted("prometheus_remote_storage_samples_expired_total", t.committed*seriesEach, 0)
	t.stop()
	return t.err
}
