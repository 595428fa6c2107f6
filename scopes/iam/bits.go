package iam

import "encoding/binary"

// bits is a set of small numbers. Its length is fixed when it is made.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]>>(i%64)&1 == 1 }

// key returns a text that equal sets share.
func (b bits) key() string {
	out := make([]byte, 0, 8*len(b))
	for _, w := range b {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return string(out)
}

// budget is the steps that are left. A step is about one position of one automaton state, or one node of a search.
type budget struct{ left int }

// spend takes n steps and tells whether they were there.
func (b *budget) spend(n int) bool {
	b.left -= n
	return b.left >= 0
}

func (b *budget) spent() bool { return b.left < 0 }
