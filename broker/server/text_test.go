package server

import (
	"errors"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/valetkey/valetkey/broker/internal/grant"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestNoTextHides puts a character that nobody sees into each text of each request, and
// wants it refused, but for parameter values, which are refused where they are resolved.
func TestNoTextHides(t *testing.T) {
	v, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	e, fields := &edge{validator: v}, 0
	for _, file := range []protoreflect.FileDescriptor{valetkeyv1.File_valetkey_v1_agent_proto, valetkeyv1.File_valetkey_v1_operator_proto, valetkeyv1.File_valetkey_v1_approval_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				kind, err := protoregistry.GlobalTypes.FindMessageByName(methods.Get(j).Input().FullName())
				if err != nil {
					t.Fatal(err)
				}
				for k := range kind.Descriptor().Fields().Len() {
					f := kind.Descriptor().Fields().Get(k)
					for _, hidden := range []string{"a\u3164b", "a\u2800b", "a\u115fb", "a\ufe0fb", "a\u200bb", "a\x1b[2Jb", "a\u202eb"} {
						m := kind.New()
						switch {
						case f.IsMap() && f.MapKey().Kind() == protoreflect.StringKind:
							m.Mutable(f).Map().Set(protoreflect.ValueOfString(hidden).MapKey(), m.Mutable(f).Map().NewValue())
						case f.IsList() && f.Kind() == protoreflect.StringKind:
							m.Mutable(f).List().Append(protoreflect.ValueOfString(hidden))
						case f.Kind() == protoreflect.StringKind:
							m.Set(f, protoreflect.ValueOfString(hidden))
						default:
							continue
						}
						fields++
						if err := visible(m); err == nil {
							t.Errorf("%s takes %q", f.FullName(), hidden)
						}
						if err := e.valid(m.Interface()); !errors.Is(err, grant.ErrInvalid) {
							t.Errorf("%s: %v", f.FullName(), err)
						}
					}
				}
			}
		}
	}
	if fields < 7*30 {
		t.Errorf("%d texts were tried", fields)
	}
	for name, m := range map[string]protoreflect.ProtoMessage{
		"a task":     &valetkeyv1.OpenTaskRequest{IdempotencyKey: "12345678", Purpose: "fix:\n- the \u2714 report\r\n\t- 東京", Environment: "prod", OnBehalfOf: "Zoë"},
		"a revoking": &valetkeyv1.RevokeTaskRequest{TaskId: "task_aaaaaaaaaaaaaaaaaaaaaaaaaa", Cause: "two\nlines"},
	} {
		if err := e.valid(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e.valid(&valetkeyv1.OpenTaskRequest{IdempotencyKey: "12345678", Purpose: "p", Environment: "prod", OnBehalfOf: "two\nlines"}) == nil {
		t.Error("a name of two lines is taken")
	}
}
