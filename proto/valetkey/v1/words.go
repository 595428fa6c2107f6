package valetkeyv1

import (
	"fmt"
	"strings"
)

// NeedsText says who has to approve: "2 of group sre, 1 of group dba". The names are as they came.
func NeedsText(needs []*Need) string {
	out := make([]string, len(needs))
	for i, n := range needs {
		out[i] = fmt.Sprintf("%d of group %s", n.GetApprovals(), n.GetGroup())
	}
	return strings.Join(out, ", ")
}

const (
	tierPrefix      = "TIER_"
	statePrefix     = "GRANT_STATE_"
	providerPrefix  = "PROVIDER_"
	parameterPrefix = "PARAMETER_TYPE_"
	decisionPrefix  = "DECISION_"
)

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// Word is the tier as records and people have it: "destructive"; "unspecified" for none.
func (x Tier) Word() string { return word(x.String(), tierPrefix) }

// TierOf is the tier of a word; UNSPECIFIED for what is no tier's.
func TierOf(word string) Tier { return Tier(Tier_value[tierPrefix+strings.ToUpper(word)]) }

// Word is the state as records and people have it: "pending"; "unspecified" for none.
func (x GrantState) Word() string { return word(x.String(), statePrefix) }

// GrantStateOf is the state of a word; UNSPECIFIED for what is no state's.
func GrantStateOf(word string) GrantState {
	return GrantState(GrantState_value[statePrefix+strings.ToUpper(word)])
}

// Word is the provider as the catalog spells it: "aws"; "unspecified" for none.
func (x Provider) Word() string { return word(x.String(), providerPrefix) }

// ProviderOf is the provider of a word; UNSPECIFIED for what is no provider's.
func ProviderOf(word string) Provider {
	return Provider(Provider_value[providerPrefix+strings.ToUpper(word)])
}

// Word is the type as the catalog spells it: "s3_bucket"; "unspecified" for none.
func (x ParameterType) Word() string { return word(x.String(), parameterPrefix) }

// ParameterTypeOf is the type of a word; UNSPECIFIED for what is no type's.
func ParameterTypeOf(word string) ParameterType {
	return ParameterType(ParameterType_value[parameterPrefix+strings.ToUpper(word)])
}

// Word is the decision as a signed statement has it: "approve"; "unspecified" for none.
func (x Decision) Word() string { return word(x.String(), decisionPrefix) }

// DecisionOf is the decision of a word; UNSPECIFIED for what is no decision's.
func DecisionOf(word string) Decision {
	return Decision(Decision_value[decisionPrefix+strings.ToUpper(word)])
}
