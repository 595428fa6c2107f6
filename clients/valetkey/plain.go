package valetkey

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrControlCharacter means that a credential came with a control character, such as
// a newline, where text is to be, so that it was not handed out: in a file or an
// environment it would be a line of its own.
var ErrControlCharacter = errors.New("a control character where plain text is to be; tell the broker's operator")

// plainText refuses control characters and Unicode's line ends. The error does not
// say the value.
func plainText(what, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) }) {
		return fmt.Errorf("the %s has %w", what, ErrControlCharacter)
	}
	return nil
}

// plain refuses them in every text of a secret. DataJSON is not text, but JSON.
func (s Secret) plain() error {
	var errs []error
	if a := s.AWS; a != nil {
		errs = append(errs, plainText("access key id", a.AccessKeyID), plainText("secret access key", a.SecretAccessKey),
			plainText("session token", a.SessionToken), plainText("region", a.Region), plainText("endpoint", a.Endpoint))
	}
	if v := s.Vault; v != nil {
		errs = append(errs, plainText("token", v.Token), plainText("accessor", v.Accessor), plainText("address", v.Address),
			plainText("namespace", v.Namespace), plainText("lease id", v.LeaseID), plainText("wrapping token", v.WrappingToken))
	}
	return errors.Join(errs...)
}
