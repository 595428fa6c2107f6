package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/valetkey/valetkey/scopes/tier"
)

// maxApprovals bounds the numbers policies may ask for: a larger one is a slip of the pen.
const maxApprovals = 20

// demands is what one policy asks of approvals and ttl: the only values at which its answer can change.
type demands struct {
	// approvals holds, per group, the counts from which the policy is content.
	approvals map[string][]int
	// ttls holds the longest lives, in seconds, with which it is content.
	ttls []int64
}

// Cedar's JSON policy format (https://docs.cedarpolicy.com/policies/json-format.html), as far as it is read here.
type policyJSON struct {
	Effect     string
	Action     scopeJSON
	Resource   scopeJSON
	Conditions []struct {
		Kind string
		Body any
	}
}

type scopeJSON struct {
	Op       string
	Entity   *entityJSON
	Entities []entityJSON
	In       *struct{ Entity entityJSON }
}

type entityJSON struct{ Type, ID string }

func parseJSON(p *cedar.Policy) (policyJSON, error) {
	var out policyJSON
	data, err := p.MarshalJSON()
	if err != nil {
		return out, fmt.Errorf("printing policy as JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		return out, fmt.Errorf("reading policy as JSON: %w", err)
	}
	return out, nil
}

// analyse finds a policy's demands, and refuses what could make more approvals or a shorter life turn yes into no, and
// what could make a claim turn no into yes (claims.go). It also refuses names that the validator lets pass and that would make a forbid sleep.
func analyse(p policyJSON, names vocabulary) (demands, error) {
	w := walker{names: names, found: demands{approvals: map[string][]int{}}}
	for _, c := range p.Conditions {
		helps := (p.Effect == "permit") == (c.Kind == "when")
		want := falls
		if helps {
			want = rises
		}
		w.claims = p.Effect == "forbid" && c.Kind == "when"
		if err := w.walk(c.Body, want); err != nil {
			return demands{}, err
		}
	}
	return w.found, nil
}

// direction is how the truth of an expression must move as approvals grow and lives shrink.
type direction int

const (
	fixed direction = 0
	rises direction = 1
	falls direction = -1
)

// vocabulary is what the engine was loaded with.
type vocabulary struct {
	scopes          []string // sorted
	agentAttributes []string
	params          map[string]bool // of any scope
	environments    []string        // sorted, Unvouched among them
}

func (v vocabulary) isScope(name string) bool {
	_, found := slices.BinarySearch(v.scopes, name)
	return found
}

type walker struct {
	names vocabulary
	found demands
	// claims says that claims may be tested here: in the when of a forbid, under no "!".
	claims bool
}

// walk visits an expression of the JSON format: a map with one operator as its key.
func (w *walker) walk(node any, want direction) error {
	switch n := node.(type) {
	case []any:
		for _, element := range n {
			if err := w.walk(element, fixed); err != nil {
				return err
			}
		}
	case map[string]any:
		for op, operands := range n {
			if err := w.operator(op, operands, want); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) operator(op string, operands any, want direction) error {
	args, _ := operands.(map[string]any)
	if c, unsaid, ok := claimTest(op, args); ok {
		return w.testClaim(c, unsaid, want)
	}
	switch op {
	case "&&", "||":
		if err := unskippable(args["left"], args["right"]); op == "||" && err != nil {
			return err
		}
		return w.each(want, args["left"], args["right"])
	case "!":
		claims := w.claims
		defer func() { w.claims = claims }()
		w.claims = false
		return w.walk(args["arg"], -want)
	case "if-then-else":
		if err := w.walk(args["if"], fixed); err != nil {
			return err
		}
		return w.each(want, args["then"], args["else"])
	case "<", "<=", ">", ">=":
		if fact, number, op, ok := comparison(op, args); ok {
			return w.compare(fact, op, number, want)
		}
		return w.each(fixed, args["left"], args["right"])
	case ".":
		if fact := factOf(map[string]any{op: operands}); fact != nil {
			return fact.misuse()
		}
		if c, ok := claimOf(map[string]any{op: operands}); ok {
			return c.misuse()
		}
		if isContext(args["left"]) {
			return nil
		}
		return w.walk(args["left"], fixed)
	case "has":
		return w.has(args["left"], args["attr"])
	case "==", "!=", "contains", "containsAll", "containsAny":
		if err := tierWords(args["left"], args["right"]); err != nil {
			return err
		}
		if err := w.names.environmentWords(args["left"], args["right"]); err != nil {
			return err
		}
		return w.each(fixed, args["left"], args["right"])
	case "Var":
		if operands == "context" {
			return fmt.Errorf("context can only be read by attribute: context.NAME")
		}
		return nil
	case "Value":
		return w.literal(operands)
	case "Record":
		for _, value := range args { // keys are the author's, not operators
			if err := w.walk(value, fixed); err != nil {
				return err
			}
		}
		return nil
	default:
		if args == nil {
			return w.walk(operands, fixed)
		}
		for _, operand := range args { // left, right, arg, pattern, in ...
			if err := w.walk(operand, fixed); err != nil {
				return err
			}
		}
		return nil
	}
}

func (w *walker) each(want direction, nodes ...any) error {
	for _, n := range nodes {
		if err := w.walk(n, want); err != nil {
			return err
		}
	}
	return nil
}

// has refuses questions with a known answer: the validator takes what follows them for unreachable.
func (w *walker) has(of, attr any) error {
	name, _ := attr.(string)
	target, _ := of.(map[string]any)
	switch target["Var"] {
	case "context":
		return fmt.Errorf("context has %s: what context has does not vary", name)
	case "resource":
		return fmt.Errorf("resource has %s: what resource has does not vary", name)
	case "principal":
		if !slices.Contains(w.names.agentAttributes, name) {
			return fmt.Errorf("principal has %s: no path in agent_paths yields it", name)
		}
		return nil
	}
	if inner, params, ok := access(of); ok && isContext(inner) && params == ctxParams && !w.names.params[name] {
		return fmt.Errorf("context.params has %s: no scope has that parameter", name)
	}
	return w.walk(of, fixed)
}

// tierWords refuses a comparison of context.tier with what is no tier.
func tierWords(left, right any) error {
	isTier := func(node any) bool {
		target, attr, _ := access(node)
		return isContext(target) && attr == ctxTier
	}
	words := []any{left}
	switch {
	case isTier(left):
		words = []any{right}
	case !isTier(right):
		return nil
	}
	if set, _ := words[0].(map[string]any); set["Set"] != nil {
		words, _ = set["Set"].([]any)
	}
	for _, node := range words {
		literal, _ := node.(map[string]any)
		if word, ok := literal["Value"].(string); ok && tier.Parse(word) == tier.None {
			return fmt.Errorf("context.tier is never %q", word)
		}
	}
	return nil
}

// literal catches names of scopes that the validator lets pass: to it, any id of a known type is good.
func (w *walker) literal(value any) error {
	wrapped, _ := value.(map[string]any)
	entity, _ := wrapped["__entity"].(map[string]any)
	if name, _ := entity["id"].(string); entity["type"] == string(scopeType) && !w.names.isScope(name) {
		return fmt.Errorf("the catalog has no scope %q", name)
	}
	return nil
}

// compare records a threshold, or refuses it where it points the wrong way.
func (w *walker) compare(f *fact, op string, number int64, want direction) error {
	least := op == ">=" || op == ">" // true from the number up
	better := rises
	if (f.group == "") == least { // a ttl above, or approvals below, gets worse
		better = falls
	}
	if want != better {
		return f.misuse()
	}
	if op == ">" || op == "<=" {
		number++ // now the first count, or life, on the upper side
	}
	if f.group == "" {
		w.found.ttls = insert(w.found.ttls, number-1)
		return nil
	}
	if number > maxApprovals {
		return fmt.Errorf("asks for %d approvals of %q: more than %d is taken for a slip", number, f.group, maxApprovals)
	}
	if number > 0 {
		w.found.approvals[f.group] = insert(w.found.approvals[f.group], int(number))
	}
	return nil
}

// fact is context.ttl_seconds, or context.approvals.GROUP.
type fact struct{ group, text string }

func (f *fact) misuse() error {
	rule := `"context.approvals.GROUP >= NUMBER" (or > NUMBER)`
	what := "more approvals"
	if f.group == "" {
		rule, what = `"context.ttl_seconds <= NUMBER" (or < NUMBER)`, "a shorter life"
	}
	return fmt.Errorf("%s used in a way that could let %s turn yes into no: write %s where it helps, in the when of a permit "+
		"or the unless of a forbid, or its negation where it hurts; and only && || ! and the branches of if around it", f.text, what, rule)
}

// factOf recognises an access to approvals or ttl, also one that is not complete.
func factOf(node any) *fact {
	target, attr, ok := access(node)
	if !ok {
		return nil
	}
	if isContext(target) {
		switch attr {
		case ctxTTL:
			return &fact{text: "context." + ctxTTL}
		case ctxApprovals:
			return &fact{group: AnyGroup, text: "context." + ctxApprovals}
		}
		return nil
	}
	if inner, approvals, ok := access(target); ok && isContext(inner) && approvals == ctxApprovals {
		return &fact{group: attr, text: "context." + ctxApprovals + "." + attr}
	}
	return nil
}

// comparison takes apart FACT OP NUMBER, and NUMBER OP FACT by turning it around.
func comparison(op string, args map[string]any) (*fact, int64, string, bool) {
	left, right := args["left"], args["right"]
	if _, ok := integer(left); ok {
		left, right = right, left
		op = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
	}
	f := factOf(left)
	number, ok := integer(right)
	if f == nil || !ok || f.text == "context."+ctxApprovals {
		return nil, 0, "", false
	}
	return f, number, op, true
}

func integer(node any) (int64, bool) {
	m, _ := node.(map[string]any)
	number, ok := m["Value"].(json.Number)
	if !ok {
		return 0, false
	}
	value, err := number.Int64()
	return value, err == nil && value < 1<<53 && value > -(1<<53)
}

func access(node any) (target any, attr string, ok bool) {
	m, _ := node.(map[string]any)
	args, _ := m["."].(map[string]any)
	attr, ok = args["attr"].(string)
	return args["left"], attr, ok
}

func isContext(node any) bool {
	m, _ := node.(map[string]any)
	return m["Var"] == "context"
}

// insert keeps a sorted list without repeats.
func insert[T cmp.Ordered](list []T, value T) []T {
	i, found := slices.BinarySearch(list, value)
	if found {
		return list
	}
	return slices.Insert(list, i, value)
}
