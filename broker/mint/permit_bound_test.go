package mint

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes"
)

func TestSpentSetIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	v := &Verifier{spent: map[string]time.Time{}, limit: 2}
	for _, id := range []string{"a", "b"} {
		if err := v.spend(id, now, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.spend("c", now, now.Add(time.Minute)); !errors.Is(err, ErrPermit) {
		t.Errorf("full: %v", err)
	}
	if err := v.spend("a", now, now.Add(time.Minute)); !errors.Is(err, ErrPermit) {
		t.Errorf("an old one was forgotten: %v", err)
	}
	now = now.Add(time.Minute)
	if err := v.spend("c", now, now.Add(time.Minute)); err != nil {
		t.Errorf("expired ones still count: %v", err)
	}
	if len(v.spent) != 1 {
		t.Errorf("%d are remembered", len(v.spent))
	}
}

// TestSealCoversTheOrder changes each field of an order in turn: none is outside of the seal.
func TestSealCoversTheOrder(t *testing.T) {
	sealed, err := scopes.Permissions{VaultRead: "database/creds/r"}.Seal()
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("a key")
	before, err := Order{}.seal(key)
	if err != nil {
		t.Fatal(err)
	}
	fields := reflect.TypeFor[Order]()
	for i := range fields.NumField() {
		o := Order{}
		switch v := reflect.ValueOf(&o).Elem().Field(i).Addr().Interface().(type) {
		case *string:
			*v = "x"
		case *[]string:
			*v = []string{"x"}
		case *time.Time:
			*v = time.Unix(0, 1)
		case *scopes.Sealed:
			*v = sealed
		default:
			t.Fatalf("a field of type %T, which this test does not know", v)
		}
		if after, err := o.seal(key); err != nil || bytes.Equal(before, after) {
			t.Errorf("%s is not under the seal: %v", fields.Field(i).Name, err)
		}
	}
}
