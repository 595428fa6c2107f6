package actions

import (
	"slices"
	"strings"
	"sync"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// Level is AWS's own access level of an action. The zero value is none that we know.
type Level uint8

// The access levels.
const (
	LevelUnknown Level = iota
	LevelRead
	LevelList
	LevelWrite
	LevelTagging
	LevelPermissions
)

// String returns AWS's word: "Read", "List", "Write", "Tagging", "Permissions management"; "unknown" for the zero value.
func (l Level) String() string {
	words := [...]string{"unknown", "Read", "List", "Write", "Tagging", "Permissions management"}
	if int(l) >= len(words) {
		l = LevelUnknown
	}
	return words[l]
}

// Action is one known action.
type Action struct {
	Name    string // as AWS spells it: "s3:GetObject"
	service *service
	reason  *reason // nil: nobody reviewed it
	types   string  // names of resource types, with tabs between them; empty: it takes no resource but "*"
	Level   Level
}

// NeedsStar tells whether the action takes no resource but "*".
func (a Action) NeedsStar() bool { return a.types == "" }

// Takes tells whether some resource that matches the pattern can be a target of the action. An action without resource
// types takes "*" alone, which the caller knows by NeedsStar.
func (a Action) Takes(resource glob.Pattern) bool {
	if a.NeedsStar() {
		return false
	}
	known := a.service.patterns()
	for name := range strings.SplitSeq(a.types, "\t") {
		if glob.Overlap(known[name], resource) {
			return true
		}
	}
	return false
}

// TypeWildcard tells whether a resource could be a target of the action by a wildcard in the word for its type alone, as
// "functi*:x" and "u*" are: there AWS takes none
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html, "Paths in ARNs"). A "*" for the whole word stands
// for every type, and a type without a word, such as a bucket, has its name there.
func (a Action) TypeWildcard(resource string) bool {
	word := typeWord(resource)
	if word == "*" || !strings.ContainsAny(word, "*?") {
		return false
	}
	known, p, found := a.service.patterns(), glob.Wild(resource), false
	for name := range strings.SplitSeq(a.types, "\t") {
		if glob.Overlap(known[name], p) {
			if strings.Contains(typeWord(a.service.types[name]), "${") {
				return false
			}
			found = true
		}
	}
	return found
}

// typeWord returns what is between the fifth colon of an ARN and the next delimiter, or its end.
func typeWord(arn string) string {
	fields := strings.SplitN(arn, ":", 6)
	if len(fields) < 6 {
		return ""
	}
	if i := strings.IndexAny(fields[5], ":/"); i >= 0 {
		return fields[5][:i]
	}
	return fields[5]
}

// service is what the actions of one service share.
type service struct {
	name       string
	types      map[string]string // resource type -> ARN with variables
	conditions []string          // condition keys, lower case, "*" for what varies
	patterns   func() map[string]glob.Pattern
}

func newService(name string) *service {
	s := &service{name: name, types: map[string]string{}}
	s.patterns = sync.OnceValue(func() map[string]glob.Pattern {
		out := make(map[string]glob.Pattern, len(s.types))
		for name, arn := range s.types {
			out[name] = arnPattern(arn, s.types)
		}
		return out
	})
	return s
}

// plainNames are variables, each with its service, whose values AWS holds to fewer characters than the delimiters of the
// ARN do, with the delimiters that they cannot have: by the naming rules of buckets, queues, DynamoDB's tables, KMS's keys,
// secrets, and IAM's names with their paths.
var plainNames = map[string]string{
	"s3:BucketName": ":/", "s3express:BucketName": ":/", "sqs:QueueName": ":/", "dynamodb:TableName": ":/",
	"kms:KeyId": ":/", "secretsmanager:SecretId": ":", "iam:RoleNameWithPath": ":", "iam:UserNameWithPath": ":",
	"iam:GroupNameWithPath": ":", "iam:PolicyNameWithPath": ":", "iam:InstanceProfileNameWithPath": ":",
}

// arnPattern reads "arn:${Partition}:s3:::${BucketName}". A variable cannot take the delimiter that follows it. The
// last one can take anything, but the delimiter by which another type of the service goes on: a bucket name has no
// slash because an object's ARN is a bucket's with a slash and more. Some names have no delimiter at all: see plainNames.
func arnPattern(arn string, types map[string]string) glob.Pattern {
	var p glob.Pattern
	_, service, _ := strings.Cut(strings.TrimPrefix(arn, "arn:"), ":")
	service, _, _ = strings.Cut(service, ":")
	for rest := arn; rest != ""; {
		start := strings.Index(rest, "${")
		end := strings.IndexByte(rest, '}')
		if start < 0 || end < start {
			p = append(p, glob.Wild(rest)...)
			break
		}
		p = append(p, glob.Wild(rest[:start])...)
		name := rest[start+2 : end]
		rest = rest[end+1:]
		hole := glob.Token{Hole: true}
		if not, ok := plainNames[service+":"+name]; ok {
			hole.Not = not
		} else if rest != "" {
			hole.Not = rest[:1]
		} else {
			for _, d := range []string{"/", ":"} {
				for _, other := range types {
					if strings.HasPrefix(other, arn+d) {
						hole.Not += d
						break
					}
				}
			}
		}
		first := hole
		first.One = true // a variable is never empty
		p = append(p, first, hole)
	}
	return p
}

// Snapshot returns the catalogue's source and its date, "2006-01-02".
func Snapshot() (source, date string) { return load().source, load().updated }

// Lookup returns the action of that name; IAM ignores case.
func Lookup(name string) (Action, bool) {
	t := load()
	i, ok := slices.BinarySearchFunc(t.actions, name, func(a Action, name string) int { return compareFold(a.Name, name) })
	if !ok {
		return Action{}, false
	}
	return t.actions[i], true
}

// Expand returns, sorted and as AWS spells them, the known actions that a pattern such as "s3:Get*" matches.
func Expand(pattern string) []string {
	wild := strings.IndexAny(pattern, "*?")
	if wild < 0 {
		if a, ok := Lookup(pattern); ok {
			return []string{a.Name}
		}
		return nil
	}
	p := glob.Wild(strings.ToLower(pattern))
	var out []string
	for _, a := range load().under(pattern[:wild]) {
		if pattern[wild:] == "*" || p.Match(strings.ToLower(a.Name)) {
			out = append(out, a.Name)
		}
	}
	slices.Sort(out)
	return out
}

// KnownCondition tells whether a condition key is global or belongs to the service ("s3"); IAM ignores case.
func KnownCondition(service, key string) bool {
	key = strings.ToLower(key)
	match := func(known string) bool {
		return known == key || strings.Contains(known, "*") && glob.Wild(known).Match(key)
	}
	t := load()
	if slices.ContainsFunc(t.global, match) {
		return true
	}
	s, ok := t.services[strings.ToLower(service)]
	return ok && slices.ContainsFunc(s.conditions, match)
}

// Services returns the known services, sorted: "s3".
func Services() []string {
	t := load()
	out := make([]string, 0, len(t.services))
	for name := range t.services {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// HasService tells whether the catalogue has actions of a service. IAM ignores case.
func HasService(service string) bool { return len(load().under(service+":")) > 0 }

// OfService returns the known actions of a service, sorted by name; none where it is unknown. IAM ignores case.
func OfService(service string) []Action { return append([]Action(nil), load().under(service+":")...) }
