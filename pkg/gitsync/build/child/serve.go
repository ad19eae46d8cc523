package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// The kinds of failures that are answered.
const (
	failedPath  = "path"
	failedLimit = "limit"
	failedBuild = "build"
)

// Serve confines this process for good and serves one build. It is called by Verb, with its arguments, and by nothing else. Errors
// say that the other side is gone or does not keep to the protocol.
func Serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	limits, err := parse(args)
	if err != nil {
		return err
	}
	// Whatever the kernel lets through: kustomize uses this client for remote files.
	http.DefaultTransport = noNetwork{}
	http.DefaultClient = &http.Client{Transport: noNetwork{}}
	if err := confine(limits); err != nil {
		return fmt.Errorf("confining the process: %w", err)
	}
	return serve(ctx, limits, in, out)
}

// noNetwork refuses every request.
type noNetwork struct{}

// RoundTrip implements http.RoundTripper.
func (noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), build.ErrRemote)
}

func serve(ctx context.Context, limits Limits, in io.Reader, out io.Writer) error {
	p := &parent{in: bufio.NewReader(in), out: out}
	k, data, err := readFrame(p.in, maxRequest)
	if err == nil && k != kindRequest {
		err = errFrame
	}
	var req request
	if err == nil {
		err = json.Unmarshal(data, &req)
	}
	if err != nil {
		return fmt.Errorf("reading what to build: %w", err)
	}
	objects, err := (&build.Builder{}).Build(ctx, p.tree(req.Files), build.Options{Path: req.Path, TargetNamespace: req.TargetNamespace})
	if p.gone != nil {
		return p.gone
	}
	a, err := encode(objects, err, limits)
	if err != nil {
		return err
	}
	data, err = json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	return writeFrame(out, kindAnswer, data)
}

// parent is the other side.
type parent struct {
	in   *bufio.Reader
	out  io.Writer
	gone error
}

func (p *parent) tree(files []file) tree.Tree {
	entries := make(map[string]tree.Entry, len(files))
	for _, f := range files {
		e := tree.Entry{Link: f.Link}
		if f.Link == "" {
			e.Read = func() ([]byte, error) { return p.read(f.Name) }
		}
		entries[f.Name] = e
	}
	return tree.New(entries)
}

// read asks for a file.
func (p *parent) read(name string) ([]byte, error) {
	if p.gone == nil {
		p.gone = writeFrame(p.out, kindRead, []byte(name))
	}
	if p.gone != nil {
		return nil, p.gone
	}
	k, data, err := readFrame(p.in, 1<<31)
	switch {
	case err == nil && k == kindData:
		return data, nil
	case err == nil && k == kindRefused:
		return nil, errors.New(string(data))
	case err == nil:
		err = errFrame
	}
	p.gone = fmt.Errorf("asking for %s: %w", name, err)
	return nil, p.gone
}

// encode makes an answer of what a build returned.
func encode(objects []*unstructured.Unstructured, err error, limits Limits) (answer, error) {
	var a answer
	if err != nil {
		a.Failure = failed(err)
		return a, nil
	}
	if len(objects) > limits.Objects {
		a.Failure = &failure{
			Kind: failedLimit, Path: "objects", Message: fmt.Sprintf("it yields %d objects, where %d are the limit", len(objects), limits.Objects),
		}
		return a, nil
	}
	left := limits.Generated
	for _, u := range objects {
		data, err := u.MarshalJSON()
		if err != nil {
			return a, fmt.Errorf("encoding %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		if left -= int64(len(data)); left < 0 {
			return answer{Failure: &failure{
				Kind: failedLimit, Path: "generated", Message: fmt.Sprintf("it yields more than %d MiB of objects", limits.Generated>>20),
			}}, nil
		}
		a.Objects = append(a.Objects, data)
	}
	return a, nil
}

func failed(err error) *failure {
	if e, ok := errors.AsType[*build.PathError](err); ok {
		return &failure{Kind: failedPath, Path: e.Path, Message: e.Err.Error()}
	}
	if e, ok := errors.AsType[*build.LimitError](err); ok {
		return &failure{Kind: failedLimit, Path: e.Limit, Message: e.Msg}
	}
	if e, ok := errors.AsType[*build.Error](err); ok {
		return &failure{Kind: failedBuild, Path: e.File, Message: e.Err.Error()}
	}
	return &failure{Kind: failedBuild, Message: err.Error()}
}
