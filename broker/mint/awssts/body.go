package awssts

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// plainBody hides from the SDK that a request's body can write itself (io.WriterTo). Where it
// can, the SDK's closed body answers WriteTo with io.EOF as an error. It closes the body once
// the answer begins, while net/http still looks for surplus in it: for a quick server, or on a
// busy host, the write then counts as failed, the connection is closed, and the rest of the
// answer is lost with what STS had minted.
func plainBody(s *middleware.Stack) error {
	return s.Build.Add(middleware.BuildMiddlewareFunc("valetkeyPlainBody", func(
		ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
	) (middleware.BuildOutput, middleware.Metadata, error) {
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("preparing body: unexpected request type %T", in.Request)
		}
		if body, ok := req.GetStream().(io.ReadSeeker); ok {
			plain, err := req.SetStream(struct{ io.ReadSeeker }{body})
			if err != nil {
				return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("preparing body: %w", err)
			}
			in.Request = plain
		}
		return next.HandleBuild(ctx, in)
	}), middleware.After)
}
