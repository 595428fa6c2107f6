// Package jcs writes a value as RFC 8785 JSON, the JSON Canonicalization Scheme:
// one value has one text, so that it can be hashed and signed.
//
// The scheme itself is jsontext's. It was chosen over gowebpki/jcs, which gives the
// same text, because it is several times faster and stands in every record's way.
package jcs

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Marshal returns the canonical form of what encoding/json makes of v. Integers
// beyond 2^53 lose precision, as RFC 8785 says; text that is no UTF-8 is replaced
// by encoding/json.
func Marshal(v any) ([]byte, error) {
	var raw bytes.Buffer
	enc := json.NewEncoder(&raw)
	enc.SetEscapeHTML(false) // it would be taken back
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return Canonicalize(raw.Bytes())
}

// Canonicalize returns the canonical form of a JSON text, whose bytes it takes over.
func Canonicalize(text []byte) ([]byte, error) {
	out := jsontext.Value(text)
	if err := out.Canonicalize(); err != nil {
		return nil, fmt.Errorf("canonicalising JSON: %w", err)
	}
	return bytes.TrimSuffix(out, []byte("\n")), nil
}
