package server

import (
	"fmt"

	"github.com/valetkey/valetkey/broker/guard"
)

// cost is what one call takes of its caller's tokens.
type cost struct {
	kind   guard.Kind
	tokens int
}

// costs has a row for every method there is: New refuses one without. Nothing is free
// but what asks nobody who they are, which the tap counts. Calls that leave a record
// behind cost a token in their transaction too.
func costs() map[string]cost {
	look, decide, end := cost{guard.Look, 1}, cost{guard.Look, 2}, cost{guard.End, 1}
	return map[string]cost{
		healthPrefix + "Check": {}, healthPrefix + "List": {}, healthPrefix + "Watch": {},

		agentPrefix + "OpenTask":         look,
		agentPrefix + "CloseTask":        end,
		agentPrefix + "ListScopes":       look,
		agentPrefix + "ExplainScope":     decide,
		agentPrefix + "RequestGrant":     decide,
		agentPrefix + "WatchGrant":       look,
		agentPrefix + "MintCredential":   decide,
		agentPrefix + "ReleaseGrant":     end,
		agentPrefix + "ProveConsistency": decide,
		agentPrefix + "GetLedgerKey":     look,

		approvalPrefix + "ListPendingGrants": decide,
		approvalPrefix + "GetPendingGrant":   look,
		approvalPrefix + "SubmitApproval":    decide,

		operatorPrefix + "ListGrants":          decide,
		operatorPrefix + "GetGrant":            look,
		operatorPrefix + "RevokeGrant":         end,
		operatorPrefix + "RevokeTask":          end,
		operatorPrefix + "RevokeGrants":        end,
		operatorPrefix + "SetFreeze":           end,
		operatorPrefix + "ReloadCatalog":       decide,
		operatorPrefix + "GetCheckpoint":       look,
		operatorPrefix + "GetRecord":           look,
		operatorPrefix + "GetConsistencyProof": decide,
	}
}

// checkCosts finds the method that has no row.
func checkCosts(methods map[string]bool) error {
	rows := costs()
	for m := range methods {
		if _, ok := rows[m]; !ok {
			return fmt.Errorf("server: %s has no row in the table of what calls cost", m)
		}
	}
	return nil
}

// charge takes what a call costs.
func (e *edge) charge(c entered, method string) error {
	row := e.costs[method]
	return e.cfg.Guard.Call(c.who, row.kind, row.tokens, e.cfg.Now())
}
