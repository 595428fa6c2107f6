package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// errNoPeer means that this system does not say whose a connection is.
var errNoPeer = errors.New("this system does not say whose a connection is")

// ErrGone is a connection whose other end nobody holds any more.
var ErrGone = errors.New("its other end is not open in the kernel's table: it was closed, or is of another network namespace")

// Peers are the users that may ask. The zero value lets nobody in.
type Peers struct {
	uids []int
	// must refuses where the system does not say who asks: for addresses that have
	// no other lock.
	must bool
}

// NewPeers lets in the named users, or where none is named this process's own.
func NewPeers(uids []int, must bool) Peers {
	if len(uids) == 0 {
		uids = []int{os.Geteuid()}
	}
	return Peers{uids: uids, must: must}
}

// Check says why the other end of c may not ask; nil where it may.
func (p Peers) Check(c net.Conn) error {
	uid, err := peerUID(c)
	switch {
	case errors.Is(err, errNoPeer) && !p.must:
		return nil
	case err != nil:
		return fmt.Errorf("finding out who asks: %w", err)
	case !slices.Contains(p.uids, uid):
		return fmt.Errorf("user %d asks, and may not", uid)
	}
	return nil
}
