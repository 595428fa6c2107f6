package mint

import "errors"

// Each exists once; both Minters raise them.
var (
	// ErrPermit: the permit is missing, forged, expired, spent or incomplete. Nothing was sent.
	ErrPermit = errors.New("mint: permit refused")
	// ErrUnavailable: the upstream did not answer, throttled, or is broken. Ask Maybe
	// whether a credential may exist; a new permit may be tried later.
	ErrUnavailable = errors.New("mint: upstream unavailable")
	// ErrRefused: the upstream said no. Retrying will not help; nothing was minted.
	ErrRefused = errors.New("mint: upstream refused")
	// ErrInvalid: the upstream's answer is not what was ordered (missing fields, a longer
	// life). A credential may exist and is not delivered.
	ErrInvalid = errors.New("mint: upstream answer invalid")
	// ErrClock: our clock and the upstream's are so far apart that a deadline would not mean
	// what was approved. It comes with ErrInvalid or ErrRefused, which say what is upstream.
	ErrClock = errors.New("mint: clocks apart")
	// ErrTooLarge: the permissions or tags do not fit the upstream's limits.
	ErrTooLarge = errors.New("mint: permissions too large")
	// ErrLifetime: the life asked for does not fit the role or the upstream, or is over.
	ErrLifetime = errors.New("mint: lifetime not possible")
)

// harmless marks an error that is certain to have left nothing upstream.
type harmless struct{ error }

func (e harmless) Unwrap() error { return e.error }

// Harmless marks err: the request did not reach the upstream, or what it left was undone.
func Harmless(err error) error {
	if err == nil {
		return nil
	}
	return harmless{err}
}

// left marks an error after which something is upstream, whatever the sentinel says.
type left struct{ error }

func (e left) Unwrap() error { return e.error }

// Left marks err: something was made upstream and could not be undone. It counts for
// more than Harmless.
func Left(err error) error {
	if err == nil {
		return nil
	}
	return left{err}
}

// Maybe reports whether a credential may exist upstream after Mint returned err. It is
// true for every error that is not known to be harmless.
func Maybe(err error) bool {
	if err == nil {
		return true
	}
	var l left
	if errors.As(err, &l) {
		return true
	}
	var h harmless
	if errors.As(err, &h) {
		return false
	}
	if errors.Is(err, ErrInvalid) {
		return true
	}
	for _, certain := range []error{ErrPermit, ErrRefused, ErrTooLarge, ErrLifetime} {
		if errors.Is(err, certain) {
			return false
		}
	}
	return true
}
