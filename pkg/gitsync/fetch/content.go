package fetch

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

const (
	// maxFiles bounds the files of a commit: a few crafted git trees can stand for billions.
	maxFiles = 200_000
	// maxLink bounds the target of a symbolic link, as operating systems do.
	maxLink = 4096
)

// boundedStorage is a memory storage that takes only so much.
type boundedStorage struct {
	*memory.Storage

	limit, used int64
}

// SetEncodedObject implements go-git's storer.EncodedObjectStorer.
func (s *boundedStorage) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	s.used += o.Size()
	if s.used > s.limit {
		return plumbing.ZeroHash, tooLarge(s.limit)
	}
	hash, err := s.Storage.SetEncodedObject(o)
	if err != nil {
		return hash, fmt.Errorf("storing an object: %w", err)
	}
	return hash, nil
}

func tooLarge(limit int64) error {
	return &TooLargeError{Msg: fmt.Sprintf("the commit is larger than the limit of %d MiB: move the manifests to a smaller repository, or raise the limit of the controller", limit>>20)}
}

// content lists the files and symbolic links of a commit; files are read when they are asked for. Submodules are left out.
func (g *Git) content(store storer.EncodedObjectStorer, commit *object.Commit) (tree.Tree, error) {
	root, err := commit.Tree()
	if err != nil {
		return tree.Tree{}, fmt.Errorf("reading the commit's tree: %w", err)
	}
	entries := map[string]tree.Entry{}
	walker := object.NewTreeWalker(root, true, nil)
	defer walker.Close()
	for {
		name, e, err := walker.Next()
		if errors.Is(err, io.EOF) {
			return tree.New(entries), nil
		}
		if err != nil {
			return tree.Tree{}, fmt.Errorf("walking the commit's tree: %w", err)
		}
		if e.Mode == filemode.Dir || e.Mode == filemode.Submodule {
			continue
		}
		if len(entries) >= maxFiles {
			return tree.Tree{}, &TooLargeError{Msg: fmt.Sprintf("the commit has more than %d files", maxFiles)}
		}
		if e.Mode != filemode.Symlink {
			entries[name] = tree.Entry{Read: func() ([]byte, error) { return read(store, e.Hash, g.limit) }}
			continue
		}
		target, err := read(store, e.Hash, maxLink)
		if err != nil {
			return tree.Tree{}, fmt.Errorf("reading the symbolic link %s: %w", name, err)
		}
		entries[name] = tree.Entry{Link: string(target)}
	}
}

// read returns the content of a blob of at most limit bytes.
func read(store storer.EncodedObjectStorer, hash plumbing.Hash, limit int64) (data []byte, err error) {
	blob, err := object.GetBlob(store, hash)
	if err != nil {
		return nil, fmt.Errorf("finding blob %s: %w", hash, err)
	}
	if blob.Size > limit {
		return nil, tooLarge(limit)
	}
	r, err := blob.Reader()
	if err != nil {
		return nil, fmt.Errorf("opening blob %s: %w", hash, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err = io.ReadAll(io.LimitReader(r, limit))
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", hash, err)
	}
	return data, nil
}
