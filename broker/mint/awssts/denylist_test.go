package awssts

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func listOf(users ...string) denyList {
	l := denyList{entries: map[string]time.Time{}}
	for i, u := range users {
		l.entries["AROAEXAMPLE:"+u] = slotEnd(noon.Add(time.Duration(i) * time.Hour))
	}
	return l
}

func TestSlotEnd(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		0: 15 * time.Minute, 12 * time.Minute: 15 * time.Minute, 13 * time.Minute: 15 * time.Minute,
		13*time.Minute + 1: 30 * time.Minute, time.Hour: 75 * time.Minute,
	} {
		if got := slotEnd(noon.Add(after)); !got.Equal(noon.Add(want)) {
			t.Errorf("%v after noon: %v", after, got)
		}
	}
}

func TestDenyListIsItsOwnState(t *testing.T) {
	l := listOf("vk-a", "vk-b")
	l.entries["AROAEXAMPLE:vk-+=,.@_"] = slotEnd(noon)
	l.cut = roleCut{before: noon, until: noon.Add(time.Hour)}
	text, err := parser{}.text(l)
	if err != nil {
		t.Fatal(err)
	}
	back, err := (parser{}).parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := (parser{}).text(back); again != text || len(back.entries) != 3 || !back.cut.until.Equal(l.cut.until) {
		t.Errorf("read %q as %v", text, back)
	}
	if strings.ContainsAny(text, " \n") {
		t.Errorf("white space in %q", text)
	}
	indented, err := json.MarshalIndent(json.RawMessage(text), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (parser{}).parse(string(indented)); err != nil {
		t.Errorf("white space makes it foreign: %v", err)
	}
	later := back.live(noon.Add(30 * time.Minute))
	if len(later.entries) != 1 || later.cut.before.IsZero() {
		t.Errorf("after half an hour: %v", later)
	}
	if text, err := (parser{}).text(back.live(noon.Add(3 * time.Hour))); text != "" || err != nil {
		t.Errorf("after all is over: %q %v", text, err)
	}
	if empty, err := (parser{}).parse(" "); err != nil || len(empty.entries) != 0 {
		t.Errorf("no policy: %v", err)
	}
}

func TestForeignContentIsSeen(t *testing.T) {
	own, err := parser{}.text(listOf("vk-a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"not JSON":         "{",
		"two documents":    own + own,
		"another version":  strings.Replace(own, "2012-10-17", "2008-10-17", 1),
		"no statement":     `{"Version":"2012-10-17","Statement":[]}`,
		"an id":            strings.Replace(own, `"Statement"`, `"Id":"x","Statement"`, 1),
		"an allow":         strings.Replace(own, `"Deny"`, `"Allow"`, 1),
		"one action":       strings.Replace(own, `"Action":"*"`, `"Action":"s3:*"`, 1),
		"a list of them":   strings.Replace(own, `"Action":"*"`, `"Action":["*"]`, 1),
		"one resource":     strings.Replace(own, `"Resource":"*"`, `"Resource":"arn:aws:s3:::a"`, 1),
		"another sid":      strings.Replace(own, `"VK2026`, `"Ours2026`, 1),
		"no time":          strings.Replace(own, `"VK2026`, `"VK9`, 1),
		"another operator": strings.Replace(own, "StringEquals", "StringLike", 1),
		"two operators":    strings.Replace(own, `"Condition":{`, `"Condition":{"Bool":{"aws:SecureTransport":"true"},`, 1),
		"two keys":         strings.Replace(own, `"StringEquals":{`, `"StringEquals":{"aws:username":"x",`, 1),
		"a wildcard":       strings.Replace(own, "vk-a", "*", 1),
		"a number":         strings.Replace(own, `"AROAEXAMPLE:vk-a"`, `1`, 1),
		"nobody":           strings.Replace(own, `"AROAEXAMPLE:vk-a"`, ``, 1),
		"twice":            strings.Replace(own, `"AROAEXAMPLE:vk-a"`, `"AROAEXAMPLE:vk-a","AROAEXAMPLE:vk-a"`, 1),
	} {
		if text == own {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := (parser{}).parse(text); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoom holds the size against IAM's limit, with ids and names as long as they are.
func TestRoom(t *testing.T) {
	var l denyList
	r := room{limit: maxInline}
	for i := 0; ; i++ {
		if i == 500 {
			t.Fatal("it never fills up")
		}
		until := slotEnd(noon.Add(time.Duration(i%60) * time.Minute)) // as with sessions of an hour
		got, err := r.place(l, []entry{{user: fmt.Sprintf("AROA%017d:vk-%026d", i, i), until: until}})
		if err != nil || len(got.in)+len(got.left) != 1 {
			t.Fatal(err)
		}
		size, err := parser{}.size(got.list)
		if err != nil || size > maxInline-operatorRoom {
			t.Fatalf("%d characters, %v", size, err)
		}
		if len(got.left) == 1 {
			break
		}
		l = got.list
	}
	if n := len(l.entries); n < 130 || n > 150 {
		t.Errorf("%d entries fit", n)
	}
	// An entry that is there needs no room, and none of them is pushed out.
	var there entry
	for u, until := range l.entries {
		there = entry{user: u, until: until}
	}
	got, err := r.place(l, []entry{there})
	if err != nil || len(got.in) != 1 || len(got.list.entries) != len(l.entries) {
		t.Errorf("an entry that is there: %+v, %v", got, err)
	}
	// For an operator there is room, 30 times at least.
	for i := range 30 {
		got, err := r.place(l, []entry{{user: fmt.Sprintf("AROA%017d:vk-op%024d", i, i), until: slotEnd(noon), urgent: true}})
		if err != nil || len(got.in) != 1 {
			t.Fatalf("operator's %d: %+v, %v", i+1, got.left, err)
		}
		l = got.list
	}
	// Where there is room for one, the operator's gets it, then the longer life.
	size, err := parser{}.size(listOf("vk-a"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := entry{user: "AROAEXAMPLE:vk-a", until: noon}, entry{user: "AROAEXAMPLE:vk-b", until: noon.Add(time.Hour)}
	got, err = room{limit: size + operatorRoom}.place(denyList{}, []entry{a, b})
	if err != nil || len(got.in) != 1 || got.in[0] != b || len(got.left) != 1 || got.left[0] != a {
		t.Errorf("%+v, %v", got, err)
	}
	a.urgent = true
	got, err = room{limit: size}.place(denyList{}, []entry{b, a})
	if err != nil || len(got.in) != 1 || got.in[0] != a {
		t.Errorf("%+v, %v", got, err)
	}
}
