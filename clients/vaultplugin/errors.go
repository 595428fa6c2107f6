package vaultplugin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// badRequest tells the caller what is wrong with what it sent.
func badRequest(err error) (*logical.Response, error) {
	return nil, logical.CodedError(http.StatusBadRequest, err.Error())
}

// answer is a refusal, or a fault, as Vault's clients understand it: 4xx for an
// answer that will stay what it is, 429 and 5xx for what may go better later,
// which they try again by themselves. The text is the broker's own.
func answer(mount string, err error) error {
	var refused *valetkey.Error
	switch {
	case errors.Is(err, valetkey.ErrNeedsApproval) && errors.As(err, &refused):
		return logical.CodedError(http.StatusForbidden, needed(mount, refused))
	case errors.Is(err, valetkey.ErrUnauthenticated), errors.Is(err, valetkey.ErrSVIDExpired), errors.Is(err, valetkey.ErrUnknownTrustDomain):
		// The one SVID that the broker has seen is the plugin's.
		return logical.CodedError(http.StatusBadGateway, "the broker refuses the plugin's own SVID; tell Vault's operator: "+err.Error())
	case errors.As(err, &refused):
		return logical.CodedError(codeOf(refused), refused.Error())
	case errors.Is(err, errOwnSVID):
		return logical.CodedError(http.StatusBadGateway, "nothing was asked of the broker; tell Vault's operator: "+err.Error())
	case errors.Is(err, errClaimed):
		return logical.CodedError(http.StatusBadGateway, err.Error())
	case errors.Is(err, errNoEntity):
		return logical.CodedError(http.StatusForbidden, err.Error())
	case errors.Is(err, errNotConfigured):
		return logical.CodedError(http.StatusBadRequest, err.Error())
	case errors.Is(err, valetkey.ErrReceipt), errors.Is(err, valetkey.ErrForked), errors.Is(err, valetkey.ErrRolledBack):
		return logical.CodedError(http.StatusBadGateway, "the broker's ledger does not prove this credential, so it was not handed out; tell the broker's operator: "+err.Error())
	case errors.Is(err, valetkey.ErrUnavailable), errors.Is(err, valetkey.ErrBrokerIdentity):
		return logical.CodedError(http.StatusBadGateway, err.Error())
	default:
		return err
	}
}

func codeOf(e *valetkey.Error) int {
	for _, row := range []struct {
		code    int
		reasons []error
	}{
		{http.StatusTooManyRequests, []error{valetkey.ErrRateLimited}},
		// Not 404: of that "vault read" says that there is no value, and drops the text.
		{http.StatusBadRequest, []error{
			valetkey.ErrUnknownScope, valetkey.ErrTaskNotFound, valetkey.ErrGrantNotFound,
			valetkey.ErrInvalidRequest, valetkey.ErrStaleScopeVersion, valetkey.ErrInvalidParameter, valetkey.ErrTTLTooLong,
			valetkey.ErrPolicyTooLarge, valetkey.ErrTaskClosed, valetkey.ErrGrantEnded, valetkey.ErrIdempotencyConflict, valetkey.ErrAlreadyIssued,
		}},
		{http.StatusForbidden, []error{
			valetkey.ErrDenied, valetkey.ErrPolicyFailed, valetkey.ErrFrozen, valetkey.ErrCallerNotAllowed,
		}},
	} {
		for _, reason := range row.reasons {
			if errors.Is(e, reason) {
				return row.code
			}
		}
	}
	return http.StatusBadGateway
}

// needed says what a request lacks that waits for nobody, and where to look.
func needed(mount string, e *valetkey.Error) string {
	return fmt.Sprintf("%s. Nothing was issued, and nobody is asked; \"vault read %srequests/%s\" shows the request", e, mount, e.GrantID)
}

// pending is the answer to who asks for what people have to approve first. It is an
// error, though a request was made, since too many of Vault's clients take any other
// answer for a secret: Vault Agent renders "<no value>", operators of Kubernetes
// store what came, and "jq -r .data.access_key" says "null". Clients that try again
// get the credential when people have approved. What they need to know is data too.
func pending(mount string, g *valetkey.Grant) (*logical.Response, error) {
	info := g.Info()
	by := stamp(info.GetDecideBy().AsTime())
	text := fmt.Sprintf("NEEDS_APPROVAL: people have to approve this first: %s, by %s. Nothing was issued yet. The request is %s: read the same again, or "+
		"\"vault read %srequests/%s\", for what became of it, and for the credential once they have",
		needs(info), by, info.GetId(), mount, info.GetId())
	return &logical.Response{Data: map[string]any{"data": show(info)}}, logical.CodedError(http.StatusForbidden, text)
}

func needs(g *valetkeyv1.Grant) string {
	var who []string
	for _, n := range g.GetNeeds() {
		who = append(who, fmt.Sprintf("%d of group %s", n.GetApprovals(), n.GetGroup()))
	}
	return strings.Join(who, ", ")
}
