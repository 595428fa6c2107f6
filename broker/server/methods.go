package server

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/broker/guard"
	"github.com/valetkey/valetkey/broker/identity"
)

// callers are the kinds of callers that a method is for.
type callers []identity.Role

// String is who they are, as errors name them.
func (c callers) String() string {
	words := make([]string, len(c))
	for i, r := range c {
		words[i] = r.String()
	}
	return strings.Join(words, " or ")
}

// method says whom a method is for, and what one call takes of its caller's tokens.
type method struct {
	who    callers
	kind   guard.Kind
	tokens int
}

// methods has a row for every method there is: New refuses one without. Nothing is free
// but what asks nobody who they are, which the tap counts. Calls that leave a record
// behind cost a token in their transaction too.
func methods() map[string]method {
	agents, operators, approvers := callers{identity.RoleAgent}, callers{identity.RoleOperator}, callers{identity.RoleApprover}
	known := callers{identity.RoleAgent, identity.RoleOperator, identity.RoleApprover}
	look := func(who callers) method { return method{who, guard.Look, 1} }
	decide := func(who callers) method { return method{who, guard.Look, 2} }
	end := func(who callers) method { return method{who, guard.End, 1} }
	return map[string]method{
		healthPrefix + "Check": {}, healthPrefix + "List": {}, healthPrefix + "Watch": {},

		agentPrefix + "OpenTask":       look(agents),
		agentPrefix + "CloseTask":      end(agents),
		agentPrefix + "ListScopes":     look(agents),
		agentPrefix + "ExplainScope":   decide(agents),
		agentPrefix + "RequestGrant":   decide(agents),
		agentPrefix + "WatchGrant":     look(agents),
		agentPrefix + "MintCredential": decide(agents),
		agentPrefix + "ReleaseGrant":   end(agents),
		agentPrefix + "GetGrant":       look(agents),
		agentPrefix + "ListGrants":     decide(agents),
		agentPrefix + "GetTask":        look(agents),

		approvalPrefix + "ListPendingGrants": decide(approvers),
		approvalPrefix + "GetPendingGrant":   look(approvers),
		approvalPrefix + "SubmitApproval":    decide(approvers),

		operatorPrefix + "ListGrants":    decide(operators),
		operatorPrefix + "GetGrant":      look(operators),
		operatorPrefix + "RevokeGrant":   end(operators),
		operatorPrefix + "RevokeTask":    end(operators),
		operatorPrefix + "RevokeGrants":  end(operators),
		operatorPrefix + "SetFreeze":     end(operators),
		operatorPrefix + "ReloadCatalog": decide(operators),

		ledgerPrefix + "GetLedgerKey":        look(known),
		ledgerPrefix + "GetCheckpoint":       look(known),
		ledgerPrefix + "GetConsistencyProof": decide(known),
		ledgerPrefix + "GetRecord":           look(operators),
	}
}

// checkMethod is the error of a method that has no row.
func checkMethod(rows map[string]method, name string) error {
	if _, ok := rows[name]; !ok {
		return fmt.Errorf("server: %s has no row in the table of methods", name)
	}
	return nil
}

// charge takes what a call costs.
func (e *edge) charge(c entered, name string) error {
	row := e.methods[name]
	return e.cfg.Guard.Call(c.who, row.kind, row.tokens, e.cfg.Now())
}
