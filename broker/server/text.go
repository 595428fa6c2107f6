package server

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
	"github.com/valetkey/valetkey/scopes/plaintext"
)

// prose are the fields that people read, in as many lines as were written. All other
// texts of a request are names, which are one line.
var prose = map[protoreflect.Name]bool{"purpose": true, "justification": true, "cause": true, "signature": true}

// parameterValues are checked where they are resolved, which says whose value it is.
var parameterValues = (&valetkeyv1.Value{}).ProtoReflect().Descriptor().FullName()

// visible is an error where a text of the message has a character that nobody sees, in
// whichever field: people read these texts, and policies compare them.
func visible(m protoreflect.Message) (err error) {
	if m.Descriptor().FullName() == parameterValues {
		return nil
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		check := func(kind protoreflect.Kind, v protoreflect.Value) error {
			switch {
			case kind == protoreflect.MessageKind || kind == protoreflect.GroupKind:
				return visible(v.Message())
			case kind != protoreflect.StringKind:
				return nil
			case prose[f.Name()]:
				return plaintext.Prose(v.String())
			}
			return plaintext.Line(v.String())
		}
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if err = check(f.MapKey().Kind(), k.Value()); err == nil {
					err = check(f.MapValue().Kind(), v)
				}
				return err == nil
			})
		case f.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = check(f.Kind(), v.List().Get(i))
			}
		default:
			err = check(f.Kind(), v)
		}
		if err != nil {
			err = fmt.Errorf("%s: it has %w", f.Name(), err)
		}
		return err == nil
	})
	return err
}
