package vaultplugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

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
	case errors.Is(err, errNoEntity), errors.Is(err, errNoAgent):
		return logical.CodedError(http.StatusForbidden, err.Error())
	case errors.Is(err, errNotConfigured):
		return logical.CodedError(http.StatusBadRequest, err.Error())
	case errors.Is(err, valetkey.ErrReceipt), errors.Is(err, valetkey.ErrForked), errors.Is(err, valetkey.ErrRolledBack):
		return logical.CodedError(http.StatusBadGateway, "the broker's ledger does not prove this credential, so it was not handed out; tell the broker's operator: "+err.Error())
	case errors.Is(err, valetkey.ErrUnavailable), errors.Is(err, valetkey.ErrBrokerIdentity):
		return logical.CodedError(http.StatusBadGateway, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errLate):
		return logical.CodedError(http.StatusGatewayTimeout, fmt.Sprintf("there was no answer within %v; what was begun is ended or rolled back: %v", callLimit, err))
	default:
		return err
	}
}

// errLate is answered where too little of callLimit is left to hand a credential over.
// People's approval stands.
var errLate = errors.New("too little time is left to hand the credential over; read it again")

// silent says that the broker did not answer, so that asking it more only takes time.
func silent(err error) bool {
	return errors.Is(err, valetkey.ErrUnavailable) || errors.Is(err, valetkey.ErrBrokerIdentity) || errors.Is(err, context.DeadlineExceeded)
}

// codeOf is by the reason's kind. Vault's clients repeat 429 and 5xx by themselves, so
// that nothing final is one of these.
func codeOf(e *valetkey.Error) int {
	switch e.Reason.Kind() {
	case valetkeyv1.ReasonWrong:
		// Not 404: of that "vault read" says that there is no value, and drops the text.
		return http.StatusBadRequest
	case valetkeyv1.ReasonLimited:
		return http.StatusTooManyRequests
	case valetkeyv1.ReasonPassing:
		return http.StatusBadGateway
	default:
		return http.StatusForbidden
	}
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
		valetkeyv1.NeedsText(info.GetNeeds()), by, info.GetId(), mount, info.GetId())
	return &logical.Response{Data: map[string]any{"data": show(info)}}, logical.CodedError(http.StatusForbidden, text)
}

// needsData are the people of each group who have to approve, as data.
func needsData(needs []*valetkeyv1.Need) map[string]any {
	out := map[string]any{}
	for _, n := range needs {
		out[n.GetGroup()] = int(n.GetApprovals())
	}
	return out
}
