package actions

import "testing"

// The catalogue is unpacked once, when it is first asked.
func BenchmarkUnpack(b *testing.B) {
	for b.Loop() {
		if _, err := unpack(packed); err != nil {
			b.Fatal(err)
		}
	}
}
