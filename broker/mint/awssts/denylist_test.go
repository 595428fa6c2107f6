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
	text, err := l.text()
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseDenyList(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := back.text(); again != text || len(back.entries) != 3 || !back.cut.until.Equal(l.cut.until) {
		t.Errorf("read %q as %v", text, back)
	}
	if strings.ContainsAny(text, " \n") {
		t.Errorf("white space in %q", text)
	}
	indented, err := json.MarshalIndent(json.RawMessage(text), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseDenyList(string(indented)); err != nil {
		t.Errorf("white space makes it foreign: %v", err)
	}
	later := back.live(noon.Add(30 * time.Minute))
	if len(later.entries) != 1 || later.cut.before.IsZero() {
		t.Errorf("after half an hour: %v", later)
	}
	if text, err := back.live(noon.Add(3 * time.Hour)).text(); text != "" || err != nil {
		t.Errorf("after all is over: %q %v", text, err)
	}
	if empty, err := parseDenyList(" "); err != nil || len(empty.entries) != 0 {
		t.Errorf("no policy: %v", err)
	}
}

func TestForeignContentIsSeen(t *testing.T) {
	own, err := listOf("vk-a").text()
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
		if _, err := parseDenyList(text); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoom holds the size against IAM's limit, with ids and names as long as they are.
func TestRoom(t *testing.T) {
	var l denyList
	for i := 0; ; i++ {
		if i == 500 {
			t.Fatal("it never fills up")
		}
		until := slotEnd(noon.Add(time.Duration(i%60) * time.Minute)) // as with sessions of an hour
		next, placed, left, err := l.with([]entry{{fmt.Sprintf("AROA%017d:vk-%026d", i, i), until}}, maxInline)
		if err != nil || len(placed)+len(left) != 1 {
			t.Fatal(err)
		}
		size, err := next.size()
		if err != nil || size > maxInline {
			t.Fatalf("%d characters, %v", size, err)
		}
		if len(left) == 1 {
			break
		}
		l = next
	}
	if n := len(l.entries); n < 170 || n > 190 {
		t.Errorf("%d entries fit", n)
	}
	// An entry that is there needs no room, and none of them is pushed out.
	var there entry
	for u, until := range l.entries {
		there = entry{u, until}
	}
	after, placed, _, err := l.with([]entry{there}, maxInline)
	if err != nil || len(placed) != 1 || len(after.entries) != len(l.entries) {
		t.Errorf("an entry that is there: %d placed, %v", len(placed), err)
	}
	// Where there is room for one, the longer life gets it.
	size, err := listOf("vk-a").size()
	if err != nil {
		t.Fatal(err)
	}
	a, b := entry{"AROAEXAMPLE:vk-a", noon}, entry{"AROAEXAMPLE:vk-b", noon.Add(time.Hour)}
	_, placed, left, err := denyList{}.with([]entry{a, b}, size)
	if err != nil || len(placed) != 1 || placed[0] != b || len(left) != 1 || left[0] != a {
		t.Errorf("placed %v, left %v, %v", placed, left, err)
	}
}
