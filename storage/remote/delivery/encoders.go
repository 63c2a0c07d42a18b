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

package delivery

import (
	"runtime"
	"time"

	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

// encoders has what requests are encoded with. There are as many as cores, for all
// endpoints together: more would not encode sooner, and each holds a request before
// compression and as much again (I6). A sender that has one waits for nothing but locks
// that are held for moments, so no endpoint waits for the receiver of another (I5).
type encoders chan *encoding

// encoding encodes one request at a time.
type encoding struct {
	builders   map[encoderKey]*encoder.Builder
	compressed []byte // Scratch space.
}

type encoderKey struct {
	protocol encoder.Protocol
	options  encoder.Options
}

func newEncoders() encoders {
	all := make(encoders, runtime.GOMAXPROCS(0))
	for range cap(all) {
		all <- &encoding{builders: map[encoderKey]*encoder.Builder{}}
	}
	return all
}

// take waits for an encoding, and returns it with an empty builder for the settings, and how
// long that took. It has to be given back.
func (all encoders) take(set *settings) (e *encoding, b *encoder.Builder, waited time.Duration) {
	select {
	case e = <-all:
	default:
		began := time.Now()
		e = <-all
		waited = time.Since(began)
	}
	key := encoderKey{set.protocol, set.options}
	if b = e.builders[key]; b == nil {
		b = encoder.New(set.protocol, set.options)
		e.builders[key] = b
	}
	b.Reset()
	return e, b, waited
}

// finish puts what was built into p.
func (e *encoding) finish(b *encoder.Builder, p *encodedRequest, dense bool) {
	p.raw = b.Len()
	e.compressed = b.FinishTo(e.compressed, dense)
	p.payload = append(p.payload[:0], e.compressed...)
}

// give takes an encoding back.
func (all encoders) give(e *encoding) { all <- e }
