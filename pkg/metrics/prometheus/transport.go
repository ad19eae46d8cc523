package prometheus

import (
	"errors"
	"io"
	"net/http"
	"slices"
)

// statusKey is the context key of the place where the last HTTP status is noted; the client tells it only in prose.
type statusKey struct{}

var errTooLarge = errors.New("the answer is too large: aggregate the query to one series, for example with sum()")

// roundTripper adds headers to each request and bounds each answer.
type roundTripper struct {
	next    http.RoundTripper
	header  http.Header
	maxBody int64
}

// RoundTrip works on a copy of the request, and on copies of the headers.
func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range t.header {
		r.Header[name] = slices.Clone(values)
	}
	if host := t.header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if status, ok := r.Context().Value(statusKey{}).(*int); ok {
		*status = resp.StatusCode
	}
	resp.Body = &boundedBody{Reader: io.LimitReader(resp.Body, t.maxBody+1), left: t.maxBody, Closer: resp.Body}
	return resp, nil
}

// boundedBody fails, instead of ending quietly, when there is more to read than it may.
type boundedBody struct {
	io.Reader
	io.Closer

	left int64
}

// Read reads up to the bound.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
