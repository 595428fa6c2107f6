package valetkey

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// ErrNotAsked means that the broker granted something else than was asked for, so
// that nothing is minted from it.
var ErrNotAsked = errors.New("the broker granted something else than was asked for; tell its operator")

// asked is what a grant has to be of.
type asked struct {
	request
	task string
}

// met compares a grant with what was asked. The broker makes parameters canonical: it
// sorts them, drops what is there twice, and ends a prefix with a slash.
func (a asked) met(g *valetkeyv1.Grant) error {
	if g.GetScope() != a.scope || g.GetTaskId() != a.task {
		return fmt.Errorf("%w: scope %q in task %q", ErrNotAsked, g.GetScope(), g.GetTaskId())
	}
	if a.version != "" && g.GetScopeVersion() != a.version {
		return fmt.Errorf("%w: another version of scope %s", ErrNotAsked, a.scope)
	}
	for name := range g.GetParameters() {
		if _, ok := a.params[name]; !ok {
			return fmt.Errorf("%w: parameter %q, too", ErrNotAsked, name)
		}
	}
	for name, want := range a.params {
		if !sameValues(g.GetParameters()[name].GetValues(), want) {
			return fmt.Errorf("%w: other values of parameter %q", ErrNotAsked, name)
		}
	}
	return nil
}

func sameValues(got, want []string) bool {
	for _, v := range got {
		if !slices.Contains(want, v) && !slices.Contains(want, strings.TrimSuffix(v, "/")) {
			return false
		}
	}
	for _, v := range want {
		if !slices.Contains(got, v) && !slices.Contains(got, v+"/") {
			return false
		}
	}
	return true
}
