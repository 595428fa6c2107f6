package scopes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/valetkey/valetkey/scopes/iam"
	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// JSONSchema returns the JSON Schema (2020-12) of a scope's file, for editors. Load is stricter: what a schema cannot
// say, it checks itself.
func JSONSchema() ([]byte, error) {
	type m = map[string]any
	text := func(about string) m { return m{"type": "string", "description": about} }
	word := func(about string) m { return m{"type": "string", "pattern": scopeName.String(), "description": about} }
	list := func(about string, items m) m {
		return m{"type": "array", "minItems": 1, "items": items, "description": about}
	}
	object := func(about string, required []string, props m) m {
		return m{"type": "object", "additionalProperties": false, "required": required, "properties": props, "description": about}
	}
	str := m{"type": "string"}
	var types []string
	for t := range maps.Keys(shapes) {
		types = append(types, string(t))
	}
	slices.Sort(types)
	ops := iam.Operators()

	param := object("One parameter; every one is required of the caller.", []string{"type"}, m{
		"type":        m{"enum": types, "description": "What the values look like."},
		"description": text("What it means."),
		"allowed":     list("The only values allowed; any of the type where it is left out.", m{"type": []string{"string", "integer"}}),
		"list":        m{"type": "boolean", "description": "Whether it takes several values."},
		"pattern":     text("For type pattern: the RE2 expression that a whole value matches."),
		"min":         m{"type": "integer", "description": "For type integer: the least."},
		"max":         m{"type": "integer", "description": "For type integer: the most."},
	})
	conditions := m{"type": "object", "description": "IAM conditions: operator, key, values; operators are " + fmt.Sprint(ops) + ", with IfExists, ForAnyValue: and ForAllValues:.",
		"additionalProperties": m{"type": "object", "minProperties": 1,
			"additionalProperties": m{"anyOf": []m{{"type": []string{"string", "boolean", "number"}}, list("Values.", m{"type": []string{"string", "boolean", "number"}})}}}}
	statement := object("One Allow.", []string{"actions", "resources"}, m{
		"actions":    list("service:Action; a wildcard is expanded when the catalog is loaded.", str),
		"resources":  list("ARNs; {name} is a parameter.", str),
		"conditions": conditions,
	})
	path := object("One Vault rule.", []string{"path", "capabilities"}, m{
		"path":         text("A Vault path; {name} is a parameter."),
		"capabilities": list("What may be done there.", m{"enum": vaultacl.Capabilities()}),
	})
	root := object("A valetkey scope: one thing that an agent may ask for.", []string{"name", "description", "provider", "role", "ttl"}, m{
		"name":        word("The scope's name, unique in the catalog."),
		"description": text("What it is for."),
		"provider":    m{"enum": []Provider{ProviderAWS, ProviderVault}, "description": "Who enforces it."},
		"role":        word("The broker's role that credentials are minted from."),
		"params":      m{"type": "object", "maxProperties": MaxParams, "propertyNames": m{"pattern": placeholder.String()}, "additionalProperties": param, "description": "The parameters."},
		"statements":  list("For provider aws: what it allows.", statement),
		"paths":       list("For provider vault: the policy of the token.", path),
		"read":        text("For provider vault: one dynamic-secret path to read."),
		"wrap":        m{"type": "boolean", "description": "Whether the answer to read is response-wrapped."},
		"outlives":    m{"type": "array", "items": str, "description": "For provider aws: the actions whose answers go on working after the grant, each to be named."},
		"ttl":         object("Life, as 90s, 15m or 1h.", []string{"default", "max"}, m{"default": text("Without a wish."), "max": text("At most; 12h is the limit.")}),
		"bindings": object("What else a credential is bound to.", []string{}, m{"source_cidrs": m{"type": "array", "items": str, "description": "Networks it works from."},
			"regions": m{"type": "array", "items": str, "description": "AWS Regions whose endpoints it works with, such as eu-west-1; for roles of dialect aws."}}),
	})
	root["$schema"], root["title"] = "https://json-schema.org/draft/2020-12/schema", "valetkey scope"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("marshalling scope schema: %w", err)
	}
	return append(out, '\n'), nil
}
