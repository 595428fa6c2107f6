// Package proof checks single claims about a ledger: that a checkpoint is signed,
// that a record is in the tree of one, and that one tree has grown out of
// another. Package logverify checks whole logs with it, package valetkey each
// receipt.
//
// Laws:
//   - It shares no code with the broker. The hashing and the signature check
//     are golang.org/x/mod/sumdb's.
//   - It reads nothing and remembers nothing.
//   - Whatever does not check out wraps [ErrVerification].
package proof

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrVerification is what every fault of a log wraps.
var ErrVerification = errors.New("the log does not verify")

// Checkpoint checks the signature of a C2SP tlog-checkpoint, and that its
// origin is the key's name, and returns the tree that it is of.
func Checkpoint(signed []byte, v note.Verifier) (tlog.Tree, error) {
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: checking the checkpoint's signature: %w", ErrVerification, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint has fewer than three lines", ErrVerification)
	}
	if lines[0] != v.Name() {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint is of log %q, the key of %q", ErrVerification, lines[0], v.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint's size %q is not a number of records", ErrVerification, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	h, ok := Hash(root)
	if err != nil || !ok {
		return tlog.Tree{}, fmt.Errorf("%w: the checkpoint's root %q is not a hash", ErrVerification, lines[2])
	}
	return tlog.Tree{N: size, Hash: h}, nil
}

// Inclusion checks that record is the one at index, from 0, of the tree. path is
// an RFC 9162 inclusion proof, leaf to root.
func Inclusion(tree tlog.Tree, index int64, record []byte, path [][]byte) error {
	hashes, err := toHashes(path)
	if err != nil {
		return err
	}
	if index < 0 || index >= tree.N {
		return fmt.Errorf("%w: record %d is not in a tree of %d", ErrVerification, index, tree.N)
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return fmt.Errorf("%w: checking that record %d is in a tree of %d: %w", ErrVerification, index, tree.N, err)
	}
	return nil
}

// Growth checks that the newer tree has the older as its prefix. path is an RFC
// 9162 consistency proof, and empty for trees of one size.
func Growth(older, newer tlog.Tree, path [][]byte) error {
	hashes, err := toHashes(path)
	if err != nil {
		return err
	}
	if older.N < 1 || older.N > newer.N {
		return fmt.Errorf("%w: a tree of %d records does not grow into one of %d", ErrVerification, older.N, newer.N)
	}
	if err := tlog.CheckTree(hashes, newer.N, newer.Hash, older.N, older.Hash); err != nil {
		return fmt.Errorf("%w: checking that a tree of %d records grew into one of %d: %w", ErrVerification, older.N, newer.N, err)
	}
	return nil
}

// Hash takes the 32 bytes of a hash, and no other number.
func Hash(b []byte) (h tlog.Hash, ok bool) {
	return h, copy(h[:], b) == tlog.HashSize && len(b) == tlog.HashSize
}

func toHashes(path [][]byte) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(path))
	for i, b := range path {
		h, ok := Hash(b)
		if !ok {
			return nil, fmt.Errorf("%w: hash %d of the proof has %d bytes", ErrVerification, i, len(b))
		}
		out[i] = h
	}
	return out, nil
}
