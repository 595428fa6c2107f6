package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds one line of cases on standard input, in bytes.
const maxLine = 4 << 20

var (
	errLongLine = fmt.Errorf("the line has more than %d bytes", maxLine)
	errNoCases  = errors.New("no cases on standard input")
)

// eachLine calls f for each line that is not blank, as soon as it has been
// read; n counts from 1 and includes the blank ones. For a line over maxLine, f
// gets errLongLine and no text. The text is f's until it returns. The first
// error of f ends it, with the number of the line; no line at all is an error.
func eachLine(ctx context.Context, in io.Reader, f func(n int, line []byte, err error) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var buf []byte
	for n, seen := 1, false; ; n++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading line %d: %w", n, err)
		}
		line, end := readLine(r, buf[:0])
		if end != nil && !errors.Is(end, errLongLine) && !errors.Is(end, io.EOF) {
			return fmt.Errorf("reading line %d: %w", n, end)
		}
		if buf = line; len(bytes.TrimSpace(line)) > 0 || errors.Is(end, errLongLine) {
			seen = true
			var long error
			if errors.Is(end, errLongLine) {
				line, long = nil, errLongLine
			}
			if err := f(n, line, long); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if errors.Is(end, io.EOF) {
			if !seen {
				return errNoCases
			}
			return nil
		}
	}
}

// readLine appends the next line to buf. It reads past what is over maxLine;
// with the last line comes io.EOF.
func readLine(r *bufio.Reader, buf []byte) ([]byte, error) {
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || len(buf)+len(part) > maxLine; !long {
			buf = append(buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			// What follows the last line, if this is it, is an empty one.
			return buf, errLongLine
		case err != nil:
			return buf, err
		}
		return buf, nil
	}
}
