package grant

import (
	"errors"
	"testing"

	"github.com/valetkey/valetkey/broker/store"
)

// A row that the record does not name is refused.
func TestChangeIsOfWhatItsRecordNames(t *testing.T) {
	named := Record{Type: GrantRevoked, Agent: "a", Task: "t1", Grant: "g1", Issuance: "i1"}
	for name, c := range map[string]Change{
		"no type":            {Record{Grant: "g1"}, Rows{Grant: &store.Grant{ID: "g1"}}},
		"another task":       {named, Rows{Task: &store.Task{ID: "t2"}}},
		"another grant":      {named, Rows{Grant: &store.Grant{ID: "g2"}}},
		"another's approval": {named, Rows{Approval: &store.Approval{GrantID: "g2"}}},
		"another's freeze":   {named, Rows{Freeze: &store.Freeze{Agent: "b", Frozen: true}}},
		"another issuance":   {named, Rows{Issuance: &store.Issuance{ID: "i2"}}},
		"another's work":     {named, Rows{Work: []store.Work{{ID: "i1", GrantID: "g2"}}}},
		"a row of no name":   {Record{Type: GrantRevoked}, Rows{Grant: &store.Grant{}}},
	} {
		if err := c.Check(); !errors.Is(err, errUnrecorded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
