package mcp

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/scopes/plaintext"
)

// Values are a parameter's: agents may send one as a string.
type Values []string

// UnmarshalJSON takes a string or a list of them.
func (v *Values) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("a value is a string or a list of strings: %w", err)
	}
	*v = many
	return nil
}

// Parameters are a scope's, by name.
type Parameters map[string]Values

// The contract's limits on parameters; proto/valetkey/v1 has them.
const (
	maxParameters = 32
	maxValues     = 32
	maxValue      = 1024
)

// wire checks what cannot be meant. Whether a value is allowed, the broker says.
func (p Parameters) wire() (valetkey.Params, error) {
	if len(p) > maxParameters {
		return nil, refuse(ReasonInvalidArgument, "%d parameters; %d at most", len(p), maxParameters)
	}
	out := make(valetkey.Params, len(p))
	for name, values := range p {
		if len(name) > 64 || plaintext.Line(name) != nil {
			return nil, refuse(ReasonInvalidArgument, "%q is no parameter's name", line(name, 64))
		}
		if len(values) == 0 || len(values) > maxValues {
			return nil, refuse(ReasonInvalidArgument, "parameter %s has %d values; 1 to %d are allowed", name, len(values), maxValues)
		}
		for _, v := range values {
			if len(v) > maxValue {
				return nil, refuse(ReasonInvalidArgument, "a value of parameter %s has %d bytes; %d at most", name, len(v), maxValue)
			}
			if err := plaintext.Line(v); err != nil {
				return nil, refuse(ReasonInvalidArgument, "a value of parameter %s has %v", name, err)
			}
		}
		out[name] = values
	}
	return out, nil
}

// schemaOf is the JSON schema of a tool's input or output.
func schemaOf[T any]() (*jsonschema.Schema, error) {
	one, most := 1, maxValues
	valueLength := maxValue
	text := &jsonschema.Schema{Type: "string", MaxLength: &valueLength}
	return jsonschema.For[T](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[Values](): {
			Description: "one value, or a list of values",
			AnyOf:       []*jsonschema.Schema{text, {Type: "array", Items: text.CloneSchemas(), MinItems: &one, MaxItems: &most}},
		},
	}})
}
