package reviewed

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	someRules = `# a comment
kind reads   read        -            AWS calls it a read
kind changes write       -            AWS calls it a write
kind deletes destructive final        its name says %s
kind secret  destructive secret       hands out a secret
kind rights  admin       gains,secret decides who may do what
kind shows   read        -            the answer holds no secret

verbs reads Read,List: Get List
within deletes Write: Delete Deletion
verbs deletes Write: Reset
verbs changes Write: Put Create Batch
    Schedule
words key policy
`
	someActions = `# a comment

s3
  rights
    PutBucketPolicy
  secret: hands out an object's key
    GetKey
  deletes
    BatchDeleteObjects DeleteObject ScheduleObjectDeletion
    ResetBucket
  changes
    PutObject
  reads
    GetObject ListBucket
`
)

func someCatalogue() []Action {
	return []Action{
		{"s3:BatchDeleteObjects", "Write"}, {"s3:DeleteObject", "Write"}, {"s3:GetKey", "Read"}, {"s3:GetObject", "Read"}, {"s3:ListBucket", "List"},
		{"s3:PutBucketPolicy", "Permissions management"}, {"s3:PutObject", "Write"}, {"s3:ResetBucket", "Write"}, {"s3:ScheduleObjectDeletion", "Write"},
	}
}

func review(t *testing.T, rules, actions string) *Review {
	t.Helper()
	r, err := Parse(rules, actions)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHoldTakesWhatIsReviewed(t *testing.T) {
	r := review(t, someRules, someActions)
	if err := r.Hold(someCatalogue()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Entry{
		"s3:PutBucketPolicy": {"admin", []string{"gains", "secret"}, "decides who may do what"}, "s3:GetKey": {"destructive", []string{"secret"}, "hands out an object's key"},
		"s3:BatchDeleteObjects": {"destructive", []string{"final"}, "its name says delete"}, "s3:ScheduleObjectDeletion": {"destructive", []string{"final"}, "its name says deletion"},
		"s3:ResetBucket": {"destructive", []string{"final"}, "its name says reset"}, "s3:GetObject": {"read", nil, "AWS calls it a read"},
	} {
		i := slices.IndexFunc(someCatalogue(), func(a Action) bool { return a.Name == name })
		if got, ok := r.Of(someCatalogue()[i]); !ok || got.Class != want.Class || !slices.Equal(got.Marks, want.Marks) || got.Reason != want.Reason {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if _, ok := r.Of(Action{Name: "s3:PutBucketPolicies"}); ok {
		t.Error("an action that nobody wrote down has an entry")
	}
}

// What AWS adds is missing until somebody writes it down, whatever its verb; the error says what is enough for it.
func TestHoldAsksForNewActions(t *testing.T) {
	r := review(t, someRules, someActions)
	for _, c := range []struct{ name, level, advice string }{
		{"s3:GetVector", "Read", "s3:GetVector (Read): its level and verb are enough for reads"},
		{"s3:BatchDeleteVectors", "Write", "s3:BatchDeleteVectors (Write): its level and verb are enough for deletes"},
		{"s3:GetObjectKey", "Read", `s3:GetObjectKey (Read): by name, with a reason, since it holds "key"`},
		{"s3:getobjectKEY", "Read", `s3:getobjectKEY (Read): by name, with a reason, since it holds "key"`},
		{"s3:VendObject", "Read", `s3:VendObject (Read): by name, with a reason, since "Vend" is no listed verb for level Read`},
		{"s3:PutVector", "Permissions management", `s3:PutVector (Permissions management): by name, with a reason, since "Put" is no listed verb for level Permissions management`},
		{"s3:GetVector", "", `s3:GetVector (): by name, with a reason, since "Get" is no listed verb for level `},
		{"new:GetVector", "Read", "new:GetVector (Read): its level and verb are enough for reads"},
	} {
		err := r.Hold(append(someCatalogue(), Action{c.name, c.level}))
		var hold *HoldError
		if !errors.As(err, &hold) || !slices.Equal(hold.Missing, []string{c.advice}) || len(hold.Wrong) > 0 || !strings.Contains(err.Error(), "review/actions.txt") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// An entry that does not keep to the rules cannot stand, nor can one of an action that is gone.
func TestHoldRefusesWrongEntries(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"  changes\n    PutObject\n", "  reads\n    PutObject\n", "s3:PutObject is read under reads, and AWS's level is Write"},
		{"  reads\n    GetObject", "  changes\n    GetObject", "s3:GetObject cannot be under changes, by its level (Read) and verb: its verb is one for reads"},
		{"    GetKey\n  deletes\n", "    ListKeys\n  deletes\n", "s3:ListKeys is in the review, and AWS has it no more: take it out"},
		{"  rights\n", "  secret\n", "s3:PutBucketPolicy is destructive under secret, and AWS's level is Permissions management"},
		{"  secret: hands out an object's key\n", "  reads\n", `s3:GetKey cannot be under reads, by its level (Read) and verb: it holds "key"`},
		{"DeleteObject ScheduleObjectDeletion\n", "ScheduleObjectDeletion\n  changes\n    DeleteObject\n  deletes\n", "s3:DeleteObject cannot be under changes, by its level (Write) and verb: its verb is one for deletes"},
	} {
		text := strings.Replace(someActions, c.old, c.new, 1)
		if text == someActions {
			t.Fatalf("%q is not there", c.old)
		}
		err := review(t, someRules, text).Hold(someCatalogue())
		var hold *HoldError
		if !errors.As(err, &hold) || !slices.Contains(hold.Wrong, c.want) {
			t.Errorf("%q: %v", c.new, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ rules, actions string }{
		{"", someActions}, {"kind a read - b", someActions}, {"nonsense x", someActions}, {"kind a read", someActions}, {"kind a big - b\nverbs a Read: Get\nwords k", someActions},
		{someRules + "kind reads read - again\n", someActions}, {someRules + "kind x read mark why\n", someActions}, {someRules + "verbs nobody Read: Get\n", someActions},
		{someRules + "verbs reads: Get\n", someActions}, {someRules + "within reads Read Get\n", someActions},
		{someRules, "s3\n  nokind\n    GetObject\n"}, {someRules, "s3\n    GetObject\n"}, {someRules, "  reads\n    GetObject\n"}, {someRules, "s3\n  reads\n   GetObject\n"},
		{someRules, "s3\n  reads\n    GetObject GetObject\n"}, {someRules, "s3\n  reads: because\n    GetObject\n"}, {someRules, "s3\n  reads\n    GetObject\ns4\n    GetObject\n"}, {someRules, "s3\n\treads\n"},
	} {
		if _, err := Parse(c.rules, c.actions); err == nil {
			t.Errorf("was read:\n%s\n%s", c.rules, c.actions)
		}
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("an empty folder was read")
	}
}
