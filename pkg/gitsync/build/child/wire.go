package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

type kind byte

const (
	kindRequest kind = iota + 1 // parent: what to build
	kindRead                    // child: the path of a file that it needs
	kindData                    // parent: its content
	kindRefused                 // parent: why it cannot be had
	kindAnswer                  // child: the outcome; nothing follows
)

const (
	// maxRequest bounds the list of files: a commit has at most 200,000, and few have long names.
	maxRequest = 64 << 20
	// maxName bounds the path of one file.
	maxName = 64 << 10
)

// request says what to build. The files' contents are read one by one.
type request struct {
	Path            string `json:"path"`
	TargetNamespace string `json:"targetNamespace,omitempty"`
	Files           []file `json:"files"`
}

type file struct {
	Name string `json:"n"`
	// Link is where a symbolic link leads; empty: it is a file.
	Link string `json:"l,omitempty"`
}

// answer is the outcome of a build.
type answer struct {
	// Objects are JSON, one after the other.
	Objects []jsonObject `json:"objects,omitempty"`
	Failure *failure     `json:"failure,omitempty"`
}

type jsonObject []byte

// MarshalJSON takes an object as it is.
func (o jsonObject) MarshalJSON() ([]byte, error) { return o, nil }

// UnmarshalJSON takes an object as it is.
func (o *jsonObject) UnmarshalJSON(data []byte) error {
	*o = append((*o)[:0], data...)
	return nil
}

// failure is an error of package build.
type failure struct {
	// Kind is "path" for a *build.PathError, "limit" for a *build.LimitError, and "build" for a *build.Error.
	Kind string `json:"kind"`
	// Path is the path, file or limit that the error names.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// errFrame is returned for what is no frame, or a frame that is too large.
var errFrame = errors.New("the other process does not keep to the protocol")

func writeFrame(w io.Writer, k kind, data []byte) error {
	head := [5]byte{byte(k)}
	binary.BigEndian.PutUint32(head[1:], uint32(len(data))) //nolint:gosec // bounded by the callers
	if _, err := w.Write(head[:]); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	return nil
}

// readFrame reads one frame whose content has at most limit bytes. Errors: errFrame; io.EOF if nothing more comes.
func readFrame(r io.Reader, limit int64) (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return 0, nil, err //nolint:wrapcheck // io.EOF is an answer
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return 0, nil, fmt.Errorf("reading a frame: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[1:]))
	if n > limit {
		return kind(head[0]), nil, fmt.Errorf("a frame of %d bytes, where %d are the limit: %w", n, limit, errFrame)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, fmt.Errorf("reading a frame: %w", err)
	}
	return kind(head[0]), data, nil
}
