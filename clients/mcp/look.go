package mcp

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/valetkey/valetkey/clients/helper/serve"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// The broker's reasons for which access ends.
const (
	reasonRejected = "REJECTED"
	reasonLapsed   = "LAPSED"
	reasonEnded    = "GRANT_ENDED"
)

// look says how a stands, having asked the broker.
func (x *session) look(ctx context.Context, a *access) (out AccessOut, err error) {
	a.mu.Lock()
	src, place, id := a.src, a.place, a.grantID
	a.mu.Unlock()
	var st valetkey.Status
	if src != nil {
		st = src.Status()
	}
	switch {
	case st.Pending != nil && !lives(st):
		id = st.Pending.ID()
	case st.GrantID != "":
		id = st.GrantID
	}
	out = AccessOut{Access: a.handle, Scope: a.scope, Environment: map[string]string{}, Unset: []string{}, Needs: []Need{}, Reasons: []string{}}
	var g *valetkeyv1.Grant
	if id != "" {
		found, err := x.s.cfg.Client.Grant(ctx, id)
		if err != nil {
			return out, err
		}
		g = found.Info()
		out.GrantID, out.Reasons = line(g.GetId(), maxLine), lines(g.GetReasons())
	}
	out.Ended = endOf(g, st, place != nil)
	a.mu.Lock()
	if g != nil {
		a.grantID, a.tier = g.GetId(), g.GetTier()
	}
	a.ended = out.Ended
	out.Tier, out.Needs = a.tier.Word(), append(out.Needs, a.needs...)
	a.mu.Unlock()
	if out.Ended != "" && src != nil {
		// What ended at the broker ends here: the profile does not go on with a new
		// grant that nobody has asked for.
		if place != nil {
			a.takeDown()
		}
		a.forget(src)
		_ = src.Release(ctx) // it has ended already
	}
	x.describe(&out, g, place, st)
	return out, nil
}

// lives says whether a source holds a credential that works.
func lives(st valetkey.Status) bool {
	return st.CredentialID != "" && time.Now().Before(st.ExpiresAt)
}

// endOf says why there is no more access; empty where there is, or may be. With a
// place, what expired is followed by the next as soon as a tool asks.
func endOf(g *valetkeyv1.Grant, st valetkey.Status, placed bool) string {
	switch g.GetState() {
	case valetkeyv1.GrantState_GRANT_STATE_REJECTED:
		return reasonRejected
	case valetkeyv1.GrantState_GRANT_STATE_LAPSED:
		return reasonLapsed
	case valetkeyv1.GrantState_GRANT_STATE_RELEASED, valetkeyv1.GrantState_GRANT_STATE_REVOKED:
		return reasonEnded
	case valetkeyv1.GrantState_GRANT_STATE_EXPIRED:
		if !placed {
			return reasonEnded
		}
	case valetkeyv1.GrantState_GRANT_STATE_DENIED:
		if placed {
			return reasonEnded
		}
	default: // it goes on
	}
	switch { // what was to come after it
	case lives(st):
		return ""
	case errors.Is(st.Err, valetkey.ErrRejected):
		return reasonRejected
	case errors.Is(st.Err, valetkey.ErrLapsed):
		return reasonLapsed
	}
	return ""
}

// describe fills in the state and what follows from it.
func (x *session) describe(out *AccessOut, g *valetkeyv1.Grant, place *serve.Place, st valetkey.Status) {
	switch {
	case out.Ended == reasonEnded:
		out.State, out.Next = stateEnded, "release it, and ask for access anew if it is still needed."
	case out.Ended == reasonLapsed && place != nil:
		out.State, out.Next = stateEnded, "release it; once somebody is there to approve, ask for access anew."
	case out.Ended != "":
		out.State, out.Next = stateEnded, advice(out.Ended)
	case g.GetState() == valetkeyv1.GrantState_GRANT_STATE_PENDING:
		out.State, out.Where, out.DecideBy = stateWaiting, x.s.where(), stamp(g.GetDecideBy().AsTime())
		out.Next = "tell your user who has to approve; go on with other work, and look again with access_status."
	case place == nil && (g.GetState() == valetkeyv1.GrantState_GRANT_STATE_CLEARED || g.GetState() == valetkeyv1.GrantState_GRANT_STATE_ACTIVE):
		out.State, out.Next = stateWaiting, "people have approved it: take it with access_status."
	case place != nil:
		out.State, out.Next = stateReady, "run tools as: . env_file && command; or set environment and unset the others. Release when done."
		out.Profile, out.ConfigFile, out.Renewed = place.Profile, place.ConfigFile, !place.Fixed
		out.EnvFile = place.EnvFile
		// A shell that the client starts has what this server was started with.
		out.Environment, out.Unset = place.Shell.Environment().Changes(os.Environ())
		out.ExpiresAt, out.SecondsLeft = stamp(st.ExpiresAt), max(0, int64(time.Until(st.ExpiresAt)/time.Second))
	case len(out.Needs) > 0:
		out.State, out.Where = stateApproval, x.s.where()
		out.Next = "tell your user who would have to approve: the broker knows too few such people, so nobody was asked. Ask for something narrower; " +
			"once that has changed, ask again with request_access, again and this handle alone."
	default:
		out.State, out.Next = stateEnded, advice("DENIED")
	}
}

func (s *Server) where() string {
	if s.cfg.Approvals != "" {
		return line(s.cfg.Approvals, maxLine)
	}
	return "the operator of the valetkey broker; name the grant id"
}
