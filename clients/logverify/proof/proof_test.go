package proof_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/clients/logverify/proof"
)

const origin = "log.example.org/test"

// logOf is a log of so many records.
type logOf []tlog.Hash

func newLog(t *testing.T, size int64) (l logOf) {
	t.Helper()
	for i := range size {
		hs, err := tlog.StoredHashes(i, record(i), l.reader())
		must(t, err)
		l = append(l, hs...)
	}
	return l
}

func record(i int64) []byte { return fmt.Appendf(nil, "record %d", i) }

func (l logOf) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = l[n]
		}
		return out, nil
	})
}

func (l logOf) tree(t *testing.T, size int64) tlog.Tree {
	t.Helper()
	h, err := tlog.TreeHash(size, l.reader())
	must(t, err)
	return tlog.Tree{N: size, Hash: h}
}

func bytesOf(hs []tlog.Hash) (out [][]byte) {
	for _, h := range hs {
		out = append(out, slices.Clone(h[:]))
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestProofs takes every pair of sizes, and changes each proof in each way.
func TestProofs(t *testing.T) {
	const most = 20
	l := newLog(t, most)
	for size := int64(1); size <= most; size++ {
		now := l.tree(t, size)
		for i := range size {
			path, err := tlog.ProveRecord(size, i, l.reader())
			must(t, err)
			must(t, proof.Inclusion(now, i, record(i), bytesOf(path)))
			refused(t, "another record", proof.Inclusion(now, i, record(i+1), bytesOf(path)))
			refused(t, "another index", proof.Inclusion(now, i+1, record(i), bytesOf(path)))
			damage(bytesOf(path), func(what string, p [][]byte) {
				refused(t, what, proof.Inclusion(now, i, record(i), p))
			})
		}
		for old := int64(1); old <= size; old++ {
			path, err := tlog.ProveTree(size, old, l.reader())
			must(t, err)
			was := l.tree(t, old)
			must(t, proof.Growth(was, now, bytesOf(path)))
			other := was
			other.Hash[3] ^= 1
			refused(t, "another history", proof.Growth(other, now, bytesOf(path)))
			if old < size {
				refused(t, "the wrong way", proof.Growth(now, was, bytesOf(path)))
			}
			damage(bytesOf(path), func(what string, p [][]byte) { refused(t, what, proof.Growth(was, now, p)) })
		}
	}
	refused(t, "from nothing", proof.Growth(tlog.Tree{}, l.tree(t, 3), nil))
	refused(t, "a negative index", proof.Inclusion(l.tree(t, 3), -1, record(0), nil))
}

// damage calls fn with each way to get a proof wrong.
func damage(path [][]byte, fn func(what string, path [][]byte)) {
	fn("one hash more", append(slices.Clone(path), make([]byte, 32)))
	for i := range path {
		flipped := slices.Clone(path)
		flipped[i] = slices.Clone(path[i])
		flipped[i][31] ^= 0x80
		fn("a bit", flipped)
		fn("one hash less", slices.Delete(slices.Clone(path), i, i+1))
		for _, n := range []int{0, 31, 33} {
			odd := slices.Clone(path)
			odd[i] = make([]byte, n)
			fn(fmt.Sprintf("a hash of %d bytes", n), odd)
		}
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, proof.ErrVerification) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestCheckpoint(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	must(t, err)
	signer, err := note.NewSigner(skey)
	must(t, err)
	verifier, err := note.NewVerifier(vkey)
	must(t, err)
	sign := func(text string) []byte {
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		must(t, err)
		return signed
	}
	want := newLog(t, 7).tree(t, 7)
	good := fmt.Sprintf("%s\n7\n%s\n", origin, want.Hash)
	got, err := proof.Checkpoint(sign(good), verifier)
	must(t, err)
	if got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, err = proof.Checkpoint(sign(good+"an extension line\n"), verifier); err != nil || got != want {
		t.Errorf("with an extension: %v, %v", got, err)
	}
	for name, signed := range map[string][]byte{
		"nothing":          nil,
		"no signature":     []byte(good),
		"changed after":    []byte(strings.Replace(string(sign(good)), "\n7\n", "\n8\n", 1)),
		"another origin":   sign(strings.Replace(good, origin, "log.example.org/other", 1)),
		"two lines":        sign(origin + "\n7\n"),
		"a negative size":  sign(strings.Replace(good, "\n7\n", "\n-7\n", 1)),
		"a size with a 0":  sign(strings.Replace(good, "\n7\n", "\n07\n", 1)),
		"a size with a +":  sign(strings.Replace(good, "\n7\n", "\n+7\n", 1)),
		"a size too large": sign(strings.Replace(good, "\n7\n", "\n9223372036854775808\n", 1)),
		"a short root":     sign(origin + "\n7\nAAAA\n"),
		"no base64":        sign(origin + "\n7\n" + strings.Repeat("!", 44) + "\n"),
	} {
		_, err := proof.Checkpoint(signed, verifier)
		refused(t, name, err)
	}
}
