package actions

import (
	"strings"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// KeyType is the type of a condition key's values as AWS's service authorization reference names it.
type KeyType string

// The types. An array has the type of its values with arrayOf before it.
const (
	KeyString  KeyType = "String"
	KeyARN     KeyType = "ARN"
	KeyBool    KeyType = "Bool"
	KeyNumeric KeyType = "Numeric"
	KeyDate    KeyType = "Date"
	KeyAddress KeyType = "IPAddress"
)

const arrayOf = "ArrayOf"

// ConditionType returns the type of a condition key's values, and whether a request may have several of them. Global
// keys and those of every service are known, with the types of the catalogue; of a key with two types, the one with
// several values counts. It returns false for a key that the catalogue does not have. IAM ignores case.
func ConditionType(key string) (t KeyType, multivalued, known bool) {
	var room [64]byte // as long as most are
	text := load().keys.of(appendLower(room[:0], key))
	rest, multivalued := strings.CutPrefix(text, arrayOf)
	return KeyType(rest), multivalued, text != ""
}

// keyTypes has the types of condition keys in lower case.
type keyTypes struct {
	exact map[string]string
	heads map[string]string // of keys whose end varies: "aws:requesttag/" for "aws:requesttag/*"
	wild  []wildKey         // of keys with another part that varies
}

type wildKey struct {
	pattern glob.Pattern
	head    string // what it begins with
	text    string
}

func (k *keyTypes) add(key, text string) {
	to := k.exact
	head, rest, wild := strings.Cut(key, "*")
	ends := wild && rest == "" && strings.HasSuffix(head, "/")
	if ends {
		to, key = k.heads, head
	}
	old, have := to[key]
	if have && (old == text || strings.HasPrefix(old, arrayOf)) {
		return
	}
	to[key] = text
	if wild && !ends && !have {
		k.wild = append(k.wild, wildKey{glob.Wild(key), head, key})
	}
}

// of takes a key in lower case.
func (k *keyTypes) of(key []byte) string {
	if text, ok := k.exact[string(key)]; ok {
		return text
	}
	for i := range len(key) {
		if key[i] != '/' || i == len(key)-1 {
			continue
		}
		if text, ok := k.heads[string(key[:i+1])]; ok {
			return text
		}
	}
	for _, w := range k.wild {
		if len(key) >= len(w.head) && string(key[:len(w.head)]) == w.head && w.pattern.Match(string(key)) {
			return k.exact[w.text]
		}
	}
	return ""
}
