// Package strict reads JSON that has to be what it is read as.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Decode reads one JSON value. A member that T does not have is an error, and so is text after the value. Numbers of an any
// are each a json.Number.
func Decode[T any](text []byte) (v T, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err = dec.Decode(&v); err != nil {
		return v, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return v, errors.New("text after the object")
	}
	return v, nil
}
