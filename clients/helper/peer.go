package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// errNoPeer means that this system does not say whose a connection is.
var errNoPeer = errors.New("this system does not say whose a connection is")

// errGone is a connection whose other end nobody holds any more.
var errGone = errors.New("its other end is not open in the kernel's table: it was closed, or is of another network namespace")

// peers are the users that may ask. The zero value lets nobody in.
type peers struct {
	uids []int
	// must refuses where the system does not say who asks: for addresses that have
	// no other lock.
	must bool
}

// newPeers lets in the named users, or where none is named this process's own.
func newPeers(uids []int, must bool) peers {
	if len(uids) == 0 {
		uids = []int{os.Geteuid()}
	}
	return peers{uids: uids, must: must}
}

// check says why the other end of c may not ask; nil where it may.
func (p peers) check(c net.Conn) error {
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
