package mcp

import (
	"context"
	"maps"
	"time"

	"github.com/valetkey/valetkey/clients/helper"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// look says how a stands, having asked the broker.
func (x *session) look(ctx context.Context, a *access) (out AccessOut, err error) {
	a.mu.Lock()
	src, place, id := a.src, a.place, a.grantID
	a.mu.Unlock()
	if src != nil {
		if st := src.Status(); st.GrantID != "" {
			id = st.GrantID
		}
	}
	out = AccessOut{Access: a.handle, Scope: a.scope, Environment: map[string]string{}, Needs: []Need{}, Reasons: []string{}}
	var g *valetkeyv1.Grant
	if id != "" {
		found, err := x.s.cfg.Client.Grant(ctx, id)
		if err != nil {
			return out, err
		}
		g = found.Info()
		out.GrantID, out.Reasons = line(g.GetId(), maxLine), lines(g.GetReasons())
		a.mu.Lock()
		a.grantID, a.tier = g.GetId(), g.GetTier()
		a.mu.Unlock()
	}
	a.mu.Lock()
	out.Tier, out.Needs = tierName(a.tier), append(out.Needs, a.needs...)
	a.mu.Unlock()
	if place != nil && !usable(g) {
		// What ended at the broker ends here: the profile does not go on with a new
		// grant that nobody has asked for.
		a.takeDown()
		_ = src.Release(ctx) // it has ended already
	}
	x.describe(&out, g, place, src)
	return out, nil
}

// describe fills in the state and what follows from it.
func (x *session) describe(out *AccessOut, g *valetkeyv1.Grant, place *helper.Place, src *valetkey.Source) {
	waiting := g.GetState() == valetkeyv1.GrantState_GRANT_STATE_PENDING
	switch {
	case place != nil && usable(g):
		out.State, out.Next = stateReady, "set the environment for your tools; release when done."
		out.Profile, out.ConfigFile, out.Renewed = place.Profile, place.ConfigFile, !place.Fixed
		maps.Copy(out.Environment, place.Env)
		if src != nil {
			left := time.Until(src.Status().ExpiresAt)
			out.ExpiresAt, out.SecondsLeft = stamp(src.Status().ExpiresAt), max(0, int64(left/time.Second))
		}
	case place != nil:
		out.State, out.Next = stateEnded, "release it, and ask for access anew if it is still needed."
	case waiting:
		out.State, out.Where = stateWaiting, x.s.where()
		out.Next = "tell your user who has to approve; go on with other work, and look again with access_status."
	case len(out.Needs) > 0:
		out.State, out.Where = stateApproval, x.s.where()
		out.Next = "tell your user who has to approve; go on with other work, and once they have, ask again: request_access with again and this handle alone."
	default:
		out.State, out.Next = stateEnded, advice["DENIED"]
	}
}

// usable says whether a grant gives credentials; of none, the source has a new one
// under way.
func usable(g *valetkeyv1.Grant) bool {
	switch g.GetState() {
	case valetkeyv1.GrantState_GRANT_STATE_CLEARED, valetkeyv1.GrantState_GRANT_STATE_ACTIVE, valetkeyv1.GrantState_GRANT_STATE_UNSPECIFIED,
		valetkeyv1.GrantState_GRANT_STATE_EXPIRED: // the next is asked for when a tool asks
		return true
	default:
		return false
	}
}

func (s *Server) where() string {
	if s.cfg.Approvals != "" {
		return line(s.cfg.Approvals, maxLine)
	}
	return "the operator of the valetkey broker; name the grant id"
}
