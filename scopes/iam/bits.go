package iam

import "encoding/binary"

// bits is a set of small numbers. Its length is fixed when it is made.
type bits []uint64

func newBits(n int) bits { return make(bits, (n+63)/64) }

func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]>>(i%64)&1 == 1 }

// meets tells whether two sets of one length have a number in common.
func (b bits) meets(c bits) bool {
	for i := range b {
		if b[i]&c[i] != 0 {
			return true
		}
	}
	return false
}

// key returns a text that equal sets share.
func (b bits) key() string { return string(b.appendKey(make([]byte, 0, 8*len(b)))) }

func (b bits) appendKey(to []byte) []byte {
	for _, w := range b {
		to = binary.LittleEndian.AppendUint64(to, w)
	}
	return to
}
