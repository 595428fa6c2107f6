package policy

import (
	"fmt"
	"slices"
)

// Law 9. A claim is what the agent says of itself, and it can say anything. So a
// policy reads one only to demand more: in the when of a forbid, to test that
// something was said. Then whatever is said gets at most what saying nothing gets:
//
//   - A permit reads no claim. Without that permit the answer is no, so the claim
//     would have made it yes.
//   - A test is false where nothing was said (every claim is the empty text), so that
//     no forbid lapses once the agent speaks. "!=", "unless" and "!" turn such tests
//     around, and are refused.
//   - Nothing is skipped for a claim's sake. What stands behind "claim ||" is not
//     evaluated where the claim holds, and so must not be able to fail: an error is a
//     no, which the agent could else talk its way past.
//
// All forms that are not known here are refused.

// claim is context.claims.NAME.
type claim struct{ name string }

func (c claim) text() string {
	if c.name == "" {
		return "context." + ctxClaims
	}
	return "context." + ctxClaims + "." + c.name
}

// claimOf recognises an access to a claim, also one that is not complete.
func claimOf(node any) (claim, bool) {
	target, attr, ok := access(node)
	if !ok {
		return claim{}, false
	}
	if isContext(target) {
		return claim{}, attr == ctxClaims
	}
	inner, claims, ok := access(target)
	return claim{attr}, ok && isContext(inner) && claims == ctxClaims
}

// readsClaim says whether a claim stands anywhere in an expression.
func readsClaim(node any) bool {
	if _, ok := claimOf(node); ok {
		return true
	}
	switch n := node.(type) {
	case []any:
		for _, element := range n {
			if readsClaim(element) {
				return true
			}
		}
	case map[string]any:
		for _, operand := range n {
			if readsClaim(operand) {
				return true
			}
		}
	}
	return false
}

// claimTest takes apart CLAIM == TEXT, CLAIM like PATTERN and [TEXT, ...].contains(CLAIM).
// unsaid is what the test gives where nothing was said.
func claimTest(op string, args map[string]any) (c claim, unsaid, ok bool) {
	switch op {
	case "==", "!=":
		subject, other := args["left"], args["right"]
		if _, ok = claimOf(subject); !ok {
			subject, other = other, subject
		}
		c, ok = claimOf(subject)
		word, isText := text(other)
		return c, (word == "") == (op == "=="), ok && isText && c.name != ""
	case "like":
		c, ok = claimOf(args["left"])
		pattern, isList := args["pattern"].([]any)
		return c, matchesNothing(pattern), ok && isList && c.name != ""
	case "contains":
		c, ok = claimOf(args["right"])
		set, _ := args["left"].(map[string]any)
		words, isSet := set["Set"].([]any)
		for _, node := range words {
			word, isText := text(node)
			ok = ok && isText
			unsaid = unsaid || word == ""
		}
		return c, unsaid, ok && isSet && c.name != ""
	}
	return claim{}, false, false
}

// matchesNothing says whether a pattern takes the empty text.
func matchesNothing(pattern []any) bool {
	for _, part := range pattern {
		if part != "Wildcard" {
			return false
		}
	}
	return true
}

// text is a literal's.
func text(node any) (string, bool) {
	m, _ := node.(map[string]any)
	word, ok := m["Value"].(string)
	return word, ok
}

// testClaim admits a claim's test, or refuses it where it could loosen.
func (w *walker) testClaim(c claim, unsaid bool, want direction) error {
	if !w.claims || want != falls || unsaid {
		return c.misuse()
	}
	return nil
}

func (c claim) misuse() error {
	return fmt.Errorf("%s used in a way that could let what an agent says of itself turn no into yes: it is a claim, and can only demand more. "+
		"Read it in the when of a forbid alone, as CLAIM == TEXT, CLAIM like PATTERN or [TEXT, ...].contains(CLAIM) that holds only where something was said, with && and || around it; "+
		"what is to be allowed rests on facts: context.%s, context.%s, principal, resource", c.text(), ctxEnvironments, ctxParams)
}

// misplacedClaim says where claims are, to who reads one as if it were a fact.
func misplacedClaim(p policyJSON) error {
	for _, c := range p.Conditions {
		if name := factNamedLikeClaim(c.Body); name != "" {
			return fmt.Errorf("there is no context.%s: what the agent says is context.%s.%s, a claim that can only demand more; what vouches for an environment is context.%s",
				name, ctxClaims, name, ctxEnvironments)
		}
	}
	return nil
}

// factNamedLikeClaim finds context.NAME where NAME is a claim's; empty for none.
func factNamedLikeClaim(node any) string {
	if target, attr, ok := access(node); ok && isContext(target) && (attr == claimEnvironment || attr == claimOnBehalfOf) {
		return attr
	}
	switch n := node.(type) {
	case []any:
		for _, element := range n {
			if name := factNamedLikeClaim(element); name != "" {
				return name
			}
		}
	case map[string]any:
		for _, operand := range n {
			if name := factNamedLikeClaim(operand); name != "" {
				return name
			}
		}
	}
	return ""
}

// unskippable refuses CLAIM || WHAT CAN FAIL.
func unskippable(left, right any) error {
	if readsClaim(left) && canFail(right) {
		return fmt.Errorf("a claim stands left of || and what follows can fail, as arithmetic and functions can: an agent that says the right thing would " +
			"pass over the failure, which is a no; write the claim last")
	}
	return nil
}

// canFail says whether evaluating an expression can end in an error. Only what is
// known not to is taken for safe; the validator has seen to types and attributes.
func canFail(node any) bool {
	n, _ := node.(map[string]any)
	for op, operands := range n {
		parts, known := safeParts(op, operands)
		if !known || slices.ContainsFunc(parts, canFail) {
			return true
		}
	}
	return len(n) != 1
}

// safeParts are the operands of an operator that does not fail by itself.
func safeParts(op string, operands any) (parts []any, known bool) {
	args, _ := operands.(map[string]any)
	switch op {
	case "Value", "Var":
		return nil, true
	case "!", "isEmpty":
		return []any{args["arg"]}, true
	case ".", "has", "like":
		return []any{args["left"]}, true
	case "&&", "||", "==", "!=", "<", "<=", ">", ">=", "contains", "containsAll", "containsAny":
		return []any{args["left"], args["right"]}, true
	case "if-then-else":
		return []any{args["if"], args["then"], args["else"]}, true
	case "Set":
		parts, known = operands.([]any)
		return parts, known
	}
	return nil, false
}
