package policy

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"

	"github.com/valetkey/valetkey/broker/spiffepath"
	"github.com/valetkey/valetkey/scopes"
)

// The names policies use. docs/policy.md explains each.
const (
	namespace  = types.Path("Valetkey")
	agentType  = types.EntityType("Valetkey::Agent")
	scopeType  = types.EntityType("Valetkey::Scope")
	actionType = types.EntityType("Valetkey::Action")

	attrTrustDomain = "trust_domain"
	attrPath        = "path"
	attrProvider    = "provider"
	attrRole        = "role"

	ctxParams         = "params"
	ctxTier           = "tier"
	ctxSensitiveReads = "sensitive_reads"
	ctxEnvironments   = "environments"
	ctxClaims         = "claims"
	ctxTTL            = "ttl_seconds"
	ctxApprovals      = "approvals"
	ctxNow            = "now"

	claimEnvironment = "environment"
	claimOnBehalfOf  = "on_behalf_of"
)

// generateSchema turns the catalog into a Cedar schema: one action per scope, with that scope's parameters in its
// context. What the agent says of its task stands under claims, apart from the facts. There is no attribute for purpose
// or justification, so a policy that reads one does not load.
func generateSchema(known map[string]scopeFacts, attrs []attribute, groups []string) *schema.Schema {
	agent := ast.RecordType{attrTrustDomain: {Type: ast.String()}, attrPath: {Type: ast.String()}}
	for _, a := range attrs {
		agent[types.String(a.name)] = ast.Attribute{Type: ast.String(), Optional: a.optional}
	}
	approvals := ast.RecordType{}
	for _, g := range groups {
		approvals[types.String(g)] = ast.Attribute{Type: ast.Long()}
	}
	ns := ast.Namespace{
		Entities: ast.Entities{
			"Agent": {Shape: agent},
			"Scope": {Shape: ast.RecordType{attrProvider: {Type: ast.String()}, attrRole: {Type: ast.String()}}},
		},
		CommonTypes: ast.CommonTypes{
			"Approvals": {Type: approvals},
			"Claims": {
				Annotations: ast.Annotations{"doc": "What the agent says of itself. It can say anything: see law 9."},
				Type:        ast.RecordType{claimEnvironment: {Type: ast.String()}, claimOnBehalfOf: {Type: ast.String()}},
			},
		},
		Actions: ast.Actions{},
	}
	for name, s := range known {
		params := ast.RecordType{}
		for _, p := range s.params {
			params[types.String(p.Name)] = ast.Attribute{Type: paramType(p)}
		}
		ns.Actions[types.String(name)] = ast.Action{AppliesTo: &ast.AppliesTo{
			Principals: []ast.EntityTypeRef{"Agent"},
			Resources:  []ast.EntityTypeRef{"Scope"},
			Context: ast.RecordType{
				ctxParams:         {Type: params},
				ctxTier:           {Type: ast.String()},
				ctxSensitiveReads: {Type: ast.Set(ast.String())},
				ctxEnvironments:   {Type: ast.Set(ast.String())},
				ctxClaims:         {Type: ast.Type("Claims")},
				ctxTTL:            {Type: ast.Long()},
				ctxApprovals:      {Type: ast.Type("Approvals")},
				ctxNow:            {Type: ast.Datetime()},
			},
		}}
	}
	return schema.NewSchemaFromAST(&ast.Schema{Namespaces: ast.Namespaces{namespace: ns}})
}

func paramType(p scopes.Param) ast.IsType {
	var element ast.IsType = ast.String()
	if p.Type == scopes.TypeInteger {
		element = ast.Long()
	}
	if p.List {
		return ast.Set(element)
	}
	return element
}

// attribute is one that path templates give to an agent; optional where not every template has it.
type attribute struct {
	name     string
	optional bool
}

func agentAttributes(templates []spiffepath.Template) []attribute {
	count := map[string]int{}
	for _, t := range templates {
		for _, name := range t.Attributes() {
			count[name]++
		}
	}
	var out []attribute
	for name, n := range count {
		out = append(out, attribute{name: name, optional: n < len(templates)})
	}
	slices.SortFunc(out, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	return out
}
