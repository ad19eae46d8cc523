// Package fetch reads one commit of a git repository into memory, over http, https, ssh or from the local disk.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// DefaultLimit is the largest sum of the sizes of all objects of a commit that is accepted.
const DefaultLimit = 256 << 20

// messageRunes bounds the first line of a commit's message.
const messageRunes = 200

// Request says what to fetch.
type Request struct {
	URL string
	// Branch, or Tag if that is set. Commit pins one commit of Branch.
	Branch, Tag, Commit string
	Credentials         Credentials
}

// Revision is a commit and the branch or tag that led to it.
type Revision struct {
	Name, SHA string
}

// String returns <branch or tag>@sha1:<commit>.
func (r Revision) String() string { return r.Name + "@sha1:" + r.SHA }

// Commit tells who wrote what.
type Commit struct {
	SHA, Author, Email string
	// Message is the first line, at most 200 characters.
	Message string
	Time    time.Time
}

// Snapshot is one fetched commit.
type Snapshot struct {
	Revision Revision
	Commit   Commit
	Tree     tree.Tree
}

// Git fetches with go-git. Use New.
type Git struct {
	limit int64
	local bool
}

// Option changes how Git works.
type Option func(*Git)

// WithLimit sets the largest accepted sum of the sizes of all objects of a commit, in bytes. Default DefaultLimit.
func WithLimit(bytes int64) Option { return func(g *Git) { g.limit = bytes } }

// WithoutLocal refuses file:// URLs, which read repositories on the controller's own disk.
func WithoutLocal() Option { return func(g *Git) { g.local = false } }

// New makes a Git.
func New(opts ...Option) *Git {
	g := &Git{limit: DefaultLimit, local: true}
	for _, o := range opts {
		o(g)
	}
	return g
}

// Head asks for the commit that req stands for, without fetching it. Errors are of the types of this package.
func (g *Git) Head(ctx context.Context, req Request) (Revision, error) {
	var out Revision
	err := g.run(ctx, req, func(ep *transport.Endpoint) error {
		if req.Commit != "" {
			out = Revision{Name: req.name(), SHA: req.Commit}
			return nil
		}
		if ep.Protocol == "file" {
			hash, _, err := req.openLocal(ep)
			out = Revision{Name: req.name(), SHA: hash.String()}
			return err
		}
		auth, err := req.Credentials.method(ep)
		if err != nil {
			return err
		}
		refs, err := remote(memory.NewStorage(), req.URL).ListContext(ctx, &git.ListOptions{
			Auth: auth, CABundle: req.Credentials.data[KeyCA], PeelingOption: git.AppendPeeled,
		})
		if err != nil {
			return fmt.Errorf("listing the references: %w", err)
		}
		hash := pick(refs, req.reference())
		if hash.IsZero() {
			return req.refNotFound()
		}
		out = Revision{Name: req.name(), SHA: hash.String()}
		return nil
	})
	if err != nil {
		return Revision{}, err // out may still be written to
	}
	return out, nil
}

// pick returns the hash of a reference, of a tag the commit that it stands for.
func pick(refs []*plumbing.Reference, name plumbing.ReferenceName) plumbing.Hash {
	hash := plumbing.ZeroHash
	for _, r := range refs {
		if r.Name() == name+"^{}" {
			return r.Hash()
		}
		if r.Name() == name {
			hash = r.Hash()
		}
	}
	return hash
}

// Fetch reads the commit that req stands for. Errors are of the types of this package.
func (g *Git) Fetch(ctx context.Context, req Request) (*Snapshot, error) {
	var out *Snapshot
	err := g.run(ctx, req, func(ep *transport.Endpoint) error {
		hash, store, err := g.objects(ctx, req, ep)
		if err != nil {
			return err
		}
		commit, err := commitOf(store, hash)
		if err != nil {
			return fmt.Errorf("reading the commit: %w", err)
		}
		content, err := g.content(store, commit)
		if err != nil {
			return err
		}
		out = &Snapshot{
			Revision: Revision{Name: req.name(), SHA: commit.Hash.String()},
			Commit: Commit{
				SHA: commit.Hash.String(), Author: oneLine(commit.Author.Name), Email: oneLine(commit.Author.Email),
				Message: oneLine(commit.Message), Time: commit.Committer.When,
			},
			Tree: content,
		}
		return nil
	})
	if err != nil {
		return nil, err // out may still be written to
	}
	return out, nil
}

// objects fetches the objects of one commit, without its history if the server can do that.
func (g *Git) objects(ctx context.Context, req Request, ep *transport.Endpoint) (plumbing.Hash, storer.EncodedObjectStorer, error) { //nolint:ireturn // memory or disk
	if ep.Protocol == "file" {
		return req.openLocal(ep)
	}
	auth, err := req.Credentials.method(ep)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	const local = plumbing.ReferenceName("refs/siskin/head")
	pull := func(from string, depth int) (*boundedStorage, error) {
		store := &boundedStorage{Storage: memory.NewStorage(), limit: g.limit}
		err := remote(store, req.URL).FetchContext(ctx, &git.FetchOptions{
			RefSpecs: []config.RefSpec{config.RefSpec("+" + from + ":" + local.String())},
			Depth:    depth, Auth: auth, Tags: git.NoTags, CABundle: req.Credentials.data[KeyCA],
		})
		if err != nil && !errors.Is(err, git.NoErrAlreadyUpToDate) {
			return nil, fmt.Errorf("fetching %s: %w", from, err)
		}
		return store, nil
	}
	if req.Commit != "" {
		return g.pinned(req, pull)
	}
	store, err := pull(req.reference().String(), 1)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	ref, err := store.Reference(local)
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("reading the fetched reference: %w", err)
	}
	return ref.Hash(), store, nil
}

// pinned fetches req.Commit alone, and from a server that does not hand out single commits with the whole branch.
func (g *Git) pinned(req Request, pull func(string, int) (*boundedStorage, error)) (plumbing.Hash, storer.EncodedObjectStorer, error) { //nolint:ireturn // memory or disk
	hash := plumbing.NewHash(req.Commit)
	store, err := pull(req.Commit, 1)
	if err != nil {
		if _, tooLarge := errors.AsType[*TooLargeError](err); tooLarge {
			return plumbing.ZeroHash, nil, err
		}
		if store, err = pull(req.reference().String(), 0); err != nil {
			return plumbing.ZeroHash, nil, err
		}
	}
	if store.HasEncodedObject(hash) != nil {
		return plumbing.ZeroHash, nil, &NotFoundError{What: "commit", Name: req.Commit}
	}
	return hash, store, nil
}

// openLocal opens a repository on the disk: nothing needs to be copied from there.
func (r Request) openLocal(ep *transport.Endpoint) (plumbing.Hash, storer.EncodedObjectStorer, error) { //nolint:ireturn // memory or disk
	repo, err := git.PlainOpenWithOptions(ep.Path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return plumbing.ZeroHash, nil, &NotFoundError{What: "repository", Name: r.URL}
	}
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("opening the repository: %w", err)
	}
	if r.Commit != "" {
		hash := plumbing.NewHash(r.Commit)
		if repo.Storer.HasEncodedObject(hash) != nil {
			return hash, nil, &NotFoundError{What: "commit", Name: r.Commit}
		}
		return hash, repo.Storer, nil
	}
	ref, err := repo.Reference(r.reference(), true)
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("reading %s: %w", r.reference(), err)
	}
	commit, err := commitOf(repo.Storer, ref.Hash())
	if err != nil {
		return plumbing.ZeroHash, nil, fmt.Errorf("reading %s: %w", r.reference(), err)
	}
	return commit.Hash, repo.Storer, nil
}

// commitOf returns the commit that hash is, or that the annotated tag hash stands for.
func commitOf(store storer.EncodedObjectStorer, hash plumbing.Hash) (*object.Commit, error) {
	if tag, err := object.GetTag(store, hash); err == nil {
		return tag.Commit()
	}
	return object.GetCommit(store, hash)
}

// run checks the URL, runs f until ctx ends and gives its error a type.
//
// go-git's ssh handshake does not heed a context. When ctx ends first, f is left behind; it ends with its connection, and
// nobody looks at what it writes.
func (g *Git) run(ctx context.Context, req Request, f func(*transport.Endpoint) error) error {
	ep, err := transport.NewEndpoint(req.URL)
	if err != nil {
		return &SpecError{Msg: "spec.url cannot be read: it must look like https://host/path, ssh://git@host/path, git@host:path or file:///path"}
	}
	switch {
	case ep.Protocol == "file" && !strings.HasPrefix(req.URL, "file://"),
		ep.Protocol != "http" && ep.Protocol != "https" && ep.Protocol != "ssh" && ep.Protocol != "file":
		return &SpecError{Msg: "spec.url must begin with https://, http://, ssh:// or file://, or look like git@host:path"}
	case ep.Protocol == "file" && !g.local:
		return &SpecError{Msg: "file:// URLs are switched off in this installation"}
	case ep.Password != "":
		return &SpecError{Msg: "spec.url must not hold credentials: put them into the Secret that spec.secretRef names"}
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("go-git panicked: %v", p)
			}
		}()
		done <- f(ep)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return typed(ctx, req, err)
	}
	return nil
}

func (r Request) name() string {
	switch {
	case r.Tag != "":
		return r.Tag
	case r.Branch != "":
		return r.Branch
	default:
		return "main"
	}
}

func (r Request) reference() plumbing.ReferenceName {
	if r.Tag != "" {
		return plumbing.NewTagReferenceName(r.Tag)
	}
	return plumbing.NewBranchReferenceName(r.name())
}

func (r Request) refNotFound() error {
	if r.Tag != "" {
		return &NotFoundError{What: "tag", Name: r.Tag}
	}
	return &NotFoundError{What: "branch", Name: r.name()}
}

func (r Request) host() string {
	ep, err := transport.NewEndpoint(r.URL)
	if err != nil || ep.Host == "" {
		return r.URL
	}
	return ep.Host
}

func remote(store storage.Storer, url string) *git.Remote {
	return git.NewRemote(store, &config.RemoteConfig{Name: "origin", URLs: []string{url}})
}

// oneLine returns the first line of s without control characters, at most 200 characters long.
func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > messageRunes {
		s = string(runes[:messageRunes-1]) + "…"
	}
	return strings.TrimSpace(s)
}
