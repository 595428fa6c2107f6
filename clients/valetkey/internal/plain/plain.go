// Package plain refuses texts that would be more than one line of a file.
package plain

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrControlCharacter is valetkey.ErrControlCharacter.
var ErrControlCharacter = errors.New("a control character where plain text is to be; tell the broker's operator")

// Text refuses control characters and Unicode's line ends. The error does not say the value.
func Text(what, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }) {
		return fmt.Errorf("the %s has %w", what, ErrControlCharacter)
	}
	return nil
}
