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

package encoder

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// tag is a field number with its wire type, as it comes in front of a field.
type tag uint32

const (
	varint    = tag(protowire.VarintType)
	fixed64   = tag(protowire.Fixed64Type)
	delimited = tag(protowire.BytesType)
)

// wire is a protobuf message under construction. Fields that hold the zero
// value are left out, as proto3 prescribes, except by the methods whose comment
// says otherwise.
type wire struct {
	buf []byte
}

func (w *wire) tag(t tag) {
	if t < 1<<7 {
		w.buf = append(w.buf, byte(t))
		return
	}
	w.buf = append(w.buf, byte(t)|1<<7, byte(t>>7))
}

// number writes an unsigned integer, or a signed one in two's complement.
func (w *wire) number(t tag, v uint64) {
	if v != 0 {
		w.member(t, v)
	}
}

// member writes an integer even if it is zero, for members of a oneof.
func (w *wire) member(t tag, v uint64) {
	w.tag(t)
	w.buf = protowire.AppendVarint(w.buf, v)
}

// double writes the bits of v. A negative zero compares equal to zero and is
// left out, which is also what generated code does.
func (w *wire) double(t tag, v float64) {
	if v != 0 {
		w.memberBits(t, math.Float64bits(v))
	}
}

// memberBits writes the bits of a float even if all are zero.
func (w *wire) memberBits(t tag, bits uint64) {
	w.tag(t)
	w.buf = binary.LittleEndian.AppendUint64(w.buf, bits)
}

func (w *wire) str(t tag, s string) {
	if s != "" {
		w.element(t, s)
	}
}

// element writes a string of a list, the empty one too.
func (w *wire) element(t tag, s string) {
	w.tag(t)
	w.buf = protowire.AppendVarint(w.buf, uint64(len(s)))
	w.buf = append(w.buf, s...)
}

// doubles writes a packed list.
func (w *wire) doubles(t tag, list []float64) {
	if len(list) == 0 {
		return
	}
	w.tag(t)
	w.buf = protowire.AppendVarint(w.buf, uint64(len(list))*8)
	for _, v := range list {
		w.buf = binary.LittleEndian.AppendUint64(w.buf, math.Float64bits(v))
	}
}

// signed writes a packed list in zigzag form.
func (w *wire) signed(t tag, list []int64) {
	if len(list) == 0 {
		return
	}
	n := w.open(t, 1)
	for _, v := range list {
		w.buf = protowire.AppendVarint(w.buf, protowire.EncodeZigZag(v))
	}
	w.close(n)
}

// nested is a message or packed list whose length is not known yet.
type nested struct {
	at   int // Where its length is to be written.
	room int // Bytes reserved for that.
}

// open starts a nested message and reserves room bytes (1 to
// binary.MaxVarintLen64) for its length. The better the guess, the less close
// has to move.
func (w *wire) open(t tag, room int) nested {
	w.tag(t)
	var blank [binary.MaxVarintLen64]byte
	n := nested{at: len(w.buf), room: room}
	w.buf = append(w.buf, blank[:room]...)
	return n
}

// close ends what open started and returns how many bytes its length took,
// which is the best guess for a similar message.
func (w *wire) close(n nested) int {
	body := n.at + n.room
	size := uint64(len(w.buf) - body)
	need := protowire.SizeVarint(size)
	if need != n.room {
		if need > n.room {
			var blank [binary.MaxVarintLen64]byte
			w.buf = append(w.buf, blank[:need-n.room]...)
		}
		copy(w.buf[n.at+need:], w.buf[body:body+int(size)])
		w.buf = w.buf[:n.at+need+int(size)]
	}
	binary.PutUvarint(w.buf[n.at:n.at+need], size)
	return need
}
