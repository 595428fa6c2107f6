package valetkey

import (
	"errors"

	"github.com/valetkey/valetkey/clients/valetkey/internal/plain"
)

// ErrControlCharacter means that a credential came with a control character, such as
// a newline, where text is to be, so that it was not handed out: in a file or an
// environment it would be a line of its own.
var ErrControlCharacter = plain.ErrControlCharacter

// plain refuses control characters in every text of a secret. DataJSON is not text, but JSON.
func (s Secret) plain() error {
	var errs []error
	if a := s.AWS; a != nil {
		errs = append(errs, plain.Text("access key id", a.AccessKeyID), plain.Text("secret access key", a.SecretAccessKey),
			plain.Text("session token", a.SessionToken), plain.Text("region", a.Region), plain.Text("endpoint", a.Endpoint))
	}
	if v := s.Vault; v != nil {
		errs = append(errs, plain.Text("token", v.Token), plain.Text("accessor", v.Accessor), plain.Text("address", v.Address),
			plain.Text("namespace", v.Namespace), plain.Text("lease id", v.LeaseID), plain.Text("wrapping token", v.WrappingToken))
	}
	return errors.Join(errs...)
}
