package vaultplugin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/valetkey/valetkey/clients/valetkey"
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

// needed says whom a request waits for, and where to look.
func needed(mount string, e *valetkey.Error) string {
	var who []string
	for _, n := range e.Needs {
		who = append(who, fmt.Sprintf("%d of group %s", n.Approvals, n.Group))
	}
	return fmt.Sprintf("NEEDS_APPROVAL: people have to approve this first: %s. Nothing was issued. The request is %s; \"vault read %srequests/%s\" shows it",
		strings.Join(who, ", "), e.GrantID, mount, e.GrantID)
}
