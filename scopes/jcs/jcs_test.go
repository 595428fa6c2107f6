package jcs_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	reference "github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/scopes/jcs"
)

// RFC 8785, section 3.2.3, and the text of section 3.2.2.
func TestVectors(t *testing.T) {
	for in, want := range map[string]string{
		`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`: "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"\U0001F600\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`:                                        `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`"<&>\u2028"`: "\"<&>\u2028\"",
	} {
		got, err := jcs.Marshal(json.RawMessage(in))
		if err != nil || string(got) != want {
			t.Errorf("%s:\ngot  %s\nwant %s\n%v", in, got, want, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, v := range []any{math.NaN(), make(chan int), json.RawMessage(`{"a":1,"a":2}`), json.RawMessage(`{`)} {
		if got, err := jcs.Marshal(v); err == nil {
			t.Errorf("%v became %s", v, got)
		}
	}
}

// The same text as another implementation's.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) any { return s }),
			rapid.Map(rapid.Int32(), func(i int32) any { return i }),
			rapid.Map(rapid.Bool(), func(b bool) any { return b })))).Draw(t, "v")
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := reference.Transform(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := jcs.Marshal(v); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s\n%v", got, want, err)
		}
	})
}
