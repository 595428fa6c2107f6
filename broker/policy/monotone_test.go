package policy

import (
	"reflect"
	"strings"
	"testing"
)

func demandsOf(t *testing.T, text string) (demands, error) {
	t.Helper()
	e, err := tryPolicies(t, text, 0)
	if err != nil {
		return demands{}, err
	}
	return e.sets["data-read"].policies[0].demands, nil
}

func TestDemands(t *testing.T) {
	const permit, forbid = `@id("x") permit (principal, action, resource) `, `@id("x") forbid (principal, action, resource) `
	cases := map[string]demands{
		permit + `when { context.approvals.sre >= 2 };`:                                                    {approvals: map[string][]int{"sre": {2}}},
		permit + `when { context.approvals.sre > 2 };`:                                                     {approvals: map[string][]int{"sre": {3}}},
		permit + `when { 2 <= context.approvals.sre };`:                                                    {approvals: map[string][]int{"sre": {2}}},
		permit + `when { 2 < context.approvals["sre"] };`:                                                  {approvals: map[string][]int{"sre": {3}}},
		permit + `unless { context.approvals.sre < 2 };`:                                                   {approvals: map[string][]int{"sre": {2}}},
		permit + `when { !(context.approvals.sre <= 2) };`:                                                 {approvals: map[string][]int{"sre": {3}}},
		forbid + `unless { context.approvals.sre >= 2 || context.approvals.any >= 3 };`:                    {approvals: map[string][]int{"any": {3}, "sre": {2}}},
		forbid + `when { context.approvals.sre < 2 && context.approvals.sre < 1 };`:                        {approvals: map[string][]int{"sre": {1, 2}}},
		forbid + `unless { if context.tier == "read" then true else context.approvals.sre >= 1 };`:         {approvals: map[string][]int{"sre": {1}}},
		permit + `when { context.approvals.sre >= 0 };`:                                                    {approvals: map[string][]int{}},
		permit + `when { context.ttl_seconds <= 900 };`:                                                    {ttls: []int64{900}},
		permit + `when { context.ttl_seconds < 900 };`:                                                     {ttls: []int64{899}},
		permit + `when { 900 >= context.ttl_seconds };`:                                                    {ttls: []int64{900}},
		forbid + `when { context.ttl_seconds > 900 };`:                                                     {ttls: []int64{900}},
		forbid + `when { context.ttl_seconds >= 900 };`:                                                    {ttls: []int64{899}},
		forbid + `when { !(context.ttl_seconds <= 900) };`:                                                 {ttls: []int64{900}},
		permit + `when { context.now.toTime() >= duration("9h") && {"Var": "context"}.Var == "context" };`: {},
	}
	for text, want := range cases {
		got, err := demandsOf(t, text)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		if want.approvals == nil {
			want.approvals = map[string][]int{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot %v, want %v", text, got, want)
		}
	}
}

func TestWhatCouldTurnYesIntoNoDoesNotLoad(t *testing.T) {
	const permit, forbid = `@id("x") permit (principal, action, resource) `, `@id("x") forbid (principal, action, resource) `
	for _, text := range []string{
		permit + `when { context.approvals.sre < 2 };`,
		permit + `when { context.approvals.sre == 2 };`,
		permit + `when { context.approvals.sre != 0 };`,
		permit + `unless { context.approvals.sre >= 2 };`,
		permit + `when { !(context.approvals.sre >= 2) };`,
		forbid + `when { context.approvals.sre >= 2 };`,
		forbid + `when { 2 <= context.approvals.sre };`,
		forbid + `unless { context.approvals.sre < 2 };`,
		permit + `when { context.approvals.sre >= context.approvals.security };`,
		permit + `when { context.approvals.sre + 1 >= 2 };`,
		permit + `when { (context.approvals.sre >= 2) == (context.tier == "read") };`,
		permit + `when { if context.approvals.sre >= 2 then true else false };`,
		permit + `when { [context.approvals.sre].contains(2) };`,
		permit + `when { {"n": context.approvals.sre}.n >= 2 };`,
		permit + `when { {"a": context.approvals}.a.sre >= 2 };`,
		permit + `when { context.approvals == {"any": 0, "sre": 0, "security": 0} };`,
		permit + `when { {"c": context}.c.ttl_seconds >= 900 };`,
		permit + `when { [context] == [context] };`,
		permit + `when { context.ttl_seconds >= 900 };`,
		permit + `when { context.ttl_seconds == 900 };`,
		permit + `when { context.ttl_seconds * 2 <= 900 };`,
		permit + `unless { context.ttl_seconds <= 900 };`,
		forbid + `when { context.ttl_seconds <= 900 };`,
		forbid + `unless { context.ttl_seconds > 900 };`,
		permit + `when { context.ttl_seconds <= context.approvals.sre };`,
		permit + `when { context.ttl_seconds <= 9007199254740993 };`,
	} {
		if _, err := demandsOf(t, text); err == nil {
			t.Errorf("loaded: %s", text)
		} else if !strings.Contains(err.Error(), "could let") && !strings.Contains(err.Error(), "context can only be read by attribute") {
			t.Errorf("%s\nrefused for another reason: %v", text, err)
		}
	}
	if _, err := demandsOf(t, permit+`when { context.approvals.sre >= 21 };`); err == nil {
		t.Error("21 approvals loaded")
	}
}
