package issue

import (
	"context"
	"strings"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/repeats"
	"github.com/valetkey/valetkey/broker/store"
)

// content is what the ask's key stands for.
func (a Ask) content() string {
	return grant.Content("grant", a.TaskID, a.Scope, a.ScopeVersion, a.Params, a.TTL, a.Justification, a.Mint)
}

// answerOr is refusal, but for a repeat: it is answered as the first ask was, though
// the task was closed or the scope has changed since.
func (s *Service) answerOr(ctx context.Context, key repeats.Key, minted bool, refusal error) (out Issued, err error) {
	err = s.cfg.Store.View(ctx, func(r store.Reader) error {
		first, err := key.Used(r)
		if err != nil || first == "" {
			return err
		}
		out.Grant, refusal, err = firstAnswer(r, first, minted)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	return out, refusal
}

// firstAnswer is the grant of an earlier request, and what that was refused with.
func firstAnswer(r store.Reader, made string, minted bool) (g store.Grant, refusal, err error) {
	id, _, _ := strings.Cut(made, " ")
	if g, err = r.Grant(id); err != nil {
		return g, nil, grant.NotFound(err, grant.ErrGrantEnded) // so long ago that it was pruned
	}
	if g, err = grant.Minted(r, g); err != nil {
		return g, nil, err
	}
	refusal = grant.FirstAnswer(g)
	if refusal == nil && g.Case == nil && minted {
		refusal = grant.ErrAlreadyIssued
	}
	return g, refusal, nil
}
