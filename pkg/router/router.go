// Package router is the seam between Siskin's engine and the data planes. A router is told the desired split and makes its
// objects say so; it also tells how far the data plane has confirmed it. When to move, when to wait and when to scale is the
// engine's, never a router's.
package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/async"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// Evidence is how far a split is confirmed; a higher level includes the lower ones.
type Evidence int

const (
	// EvidenceNone : the objects do not say what is desired.
	EvidenceNone Evidence = iota
	// EvidenceWritten : the API server holds the desired objects.
	EvidenceWritten
	// EvidenceAccepted : the data plane's controller took this generation.
	EvidenceAccepted
	// EvidenceProgrammed : the proxies carry it out.
	EvidenceProgrammed
	// EvidenceServed : traffic was seen to follow it.
	EvidenceServed
)

// String returns the level's name as status shows it.
func (e Evidence) String() string {
	names := [...]string{"None", "Written", "Accepted", "Programmed", "Served"}
	if e < 0 || int(e) >= len(names) {
		return fmt.Sprintf("Evidence(%d)", int(e))
	}
	return names[e]
}

// Split is where the traffic goes.
type Split struct {
	// Primary and Canary are shares in percent; they are >= 0 and sum to 100.
	Primary, Canary int32
	// Mirror is the percentage of the primary's requests that is copied to the canary; its answers are dropped.
	Mirror int32
	// Audience sends the requests that match Intent.Audience to the canary, whatever its share is.
	Audience bool
}

// Valid tells whether the shares are >= 0 and sum to 100.
func (s Split) Valid() bool { return s.Primary >= 0 && s.Canary >= 0 && s.Primary+s.Canary == 100 }

// Capabilities is what a router can do; what it cannot is refused before a rollout starts.
type Capabilities struct {
	// Features that the data plane has.
	Features Features
	// Unsure tells, in a few words, why some of them are at Maybe, and whose they are; "" when all is known.
	Unsure string
	// Late tells that some of them are being read, and are known soon: the Canary is looked at again then.
	Late bool
	// Ceiling is the highest evidence that this router can give; the engine waits for it.
	Ceiling Evidence
	// Vouch tells what a person can do who knows that a feature is there which is at No or Maybe, as the end of a sentence: "if it can, …";
	// "": nothing.
	Vouch string
	// Of names the data plane that these are the capabilities of, for people: "Gateway infra/public of traefik.io/gateway-controller".
	// "" when the router is all there is.
	Of string
}

// Intent is the whole desired state of one app's routing. Routers are level-based: the same Intent gives the same objects.
type Intent struct {
	// Owner is the Canary; generated objects get it as controller owner.
	Owner *siskinv1.Canary
	// Apex, Primary and Canary are the names of the Services, in the Owner's namespace.
	Apex, Primary, Canary string
	// Port is the port of the Services that carries the traffic that is split.
	Port int32
	// PrimaryPorts and CanaryPorts are what the apex serves while it leads to that side; nil: what it has.
	PrimaryPorts, CanaryPorts []corev1.ServicePort
	// Lent tells that the canary's pods stand in for the primary's, which are being replaced by pods that one Service
	// cannot serve beside them: what leads to the primary's Service reaches them.
	Lent bool
	// Split that is desired.
	Split Split
	// Audience selects requests: one of the entries must match. Meaningful when Split.Audience.
	Audience []siskinv1.RequestMatch
	// Affinity keeps users at a version by a cookie while both sides get a share; nil: not.
	Affinity *Affinity
	// Expired names the cookies of rollouts that are over: a router that can has those who still send one drop it. It
	// moves nobody, and is left out where it cannot be said. nil: there are none. Meaningful when the primary gets all and
	// no audience is selected.
	Expired *siskinv1.SessionAffinity
	// Keep tells Release that the target serves on: what was generated for clients stays, leads to the apex and has no owner
	// any more. Without it, what was generated goes.
	Keep bool
}

// Affinity keeps users at a version by a cookie.
type Affinity struct {
	siskinv1.SessionAffinity
	// Token is the value of the canary's cookie: it is new in each rollout, so that an old cookie counts for nothing. Letters, digits
	// and - only.
	Token string
	// PrimaryToken is the value of the primary's cookie: it is new in each step, so that users are drawn anew when the share rises.
	PrimaryToken string
	// Earlier are the steps before this one, newest first. Users of the primary then are drawn so that the canary has its share of
	// all users and no more: of 100, 10 were drawn at 10 %, so that at 20 % it is 10 of the 90 who are left.
	Earlier []Draw
}

// Draw is a step in which users were given cookies.
type Draw struct {
	// PrimaryToken is the value of the primary's cookie in that step.
	PrimaryToken string
	// Canary is the canary's share in that step, in percent.
	Canary int32
}

// Receipt tells what an Apply did.
type Receipt struct {
	// Changed tells that something was written.
	Changed bool
	// Foreign tells that what was written over was somebody else's change and not an older intent of Siskin's: By names the field
	// manager, if it is known, and Object what was changed, such as "HTTPRoute web".
	Foreign    bool
	By, Object string
	// Adopted tells that Object is somebody else's and carries the split from now on, or does so again after its author wrote
	// it. Note is what people are to know besides, as a sentence; "": nothing.
	Adopted bool
	Note    string
}

// Observation is what is, not what was written.
type Observation struct {
	// Evidence for the Intent's split.
	Evidence Evidence
	// Current is the split that the objects state now; meaningful when Known.
	Current Split
	// Known tells whether there are objects that state a split at all.
	Known bool
	// Leaving tells that the objects were given back, so that they state no split, but that the data plane has not answered for them since:
	// it may still lead to the clones.
	Leaving bool
	// Reason and Message explain, in CamelCase and in one sentence, why the evidence is below the ceiling.
	Reason, Message string
	// Rejected tells that the data plane refused the objects: waiting will not help, a person must act.
	Rejected bool
	// Again is how long it takes until the evidence may be higher although nothing happens that would be told; 0: something will be.
	Again time.Duration
	// MetricsKind tells which built-in queries fit the series of this data plane; meter.App, or "", that only the app's own series tell
	// the versions apart.
	MetricsKind meter.Kind
	// Counted tells that those series tell of which route a request was, so that the share that reached the canary can be
	// compared with the split.
	Counted bool
}

// Rival is another route of the Canary's namespace that claims requests of its route.
type Rival struct {
	// Name of the route.
	Name string
	// Rules of it that do, counted from 0.
	Rules []int
}

// Contested is a Router that knows which other routes claim the requests of an Intent's route. Rivals reads from
// caches; it is asked once in a check, and not in every pass.
type Contested interface {
	Rivals(ctx context.Context, in Intent) ([]Rival, error)
}

// Slow is a Router that reads past the caches what it needs to tell its Capabilities. ReadBeside has that be read beside
// the reconcile; it is called once, before anything else.
type Slow interface {
	ReadBeside(reads *async.Reads)
}

// Router makes one data plane follow an Intent.
//
// Capabilities tells what the data plane that the Canary names can do. It is asked in every pass: it reads from caches, or remembers.
// Validate tells without any read whether the Intent can be written at all, so that a wrong spec is seen before a rollout and not when
// its split is to be moved; a port that is not known yet is no error. Apply is idempotent, writes only when something differs, and
// touches only what it owns; what Capabilities leaves out it refuses. Observe reads from caches and never writes. Release hands
// everything back: adopted objects are restored, generated ones left to the target or deleted (Intent.Keep); it is idempotent and is
// called when the target's pods can take all traffic again. Orphan gives everything up as it is: the objects stay and say what they
// say, but would not go with the Canary any more; one of the same name takes them back. It is idempotent. GiveBack restores what was
// adopted for a Canary that is gone without a word, as Release does; what was generated went with it. Nothing is known of its spec: of the
// Intent only the Owner's metadata counts and, where they are known, the names of the Services; what bears the Canary's name is looked
// for. Errors: ErrNotFound (wait), *InvalidError (the
// user must act); anything else is retried with backoff.
type Router interface {
	Capabilities(ctx context.Context, c *siskinv1.Canary) Capabilities
	Validate(in Intent) error
	Apply(ctx context.Context, in Intent) (Receipt, error)
	Observe(ctx context.Context, in Intent) (Observation, error)
	Leaver
}

// Leaver ends a router's work for a Canary, see Router.
type Leaver interface {
	Release(ctx context.Context, in Intent) error
	Orphan(ctx context.Context, in Intent) error
	GiveBack(ctx context.Context, in Intent) error
}

// ErrNotFound : something that the route needs does not exist yet.
var ErrNotFound = errors.New("not found")

// InvalidError : the spec asks for what this router cannot do; only an edit helps.
type InvalidError struct {
	// Router that refused.
	Router string
	// Field of the Canary, for example "spec.service.gatewayRefs".
	Field string
	// Message says what is wrong and what to do.
	Message string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s (router %s): %s", e.Field, e.Router, e.Message)
}

// Constructor makes a router that reads and writes through c. Reads come from c's cache; live reads from the API server itself, for
// the little that is not worth a cache.
type Constructor func(c client.Client, live client.Reader) Router

// Sticky tells whether users are kept at a version: as long as both versions get a share. When one of them gets all, no cookie may
// say otherwise.
func (in Intent) Sticky() bool {
	return in.Affinity != nil && in.Split.Primary > 0 && in.Split.Canary > 0
}

// Expires tells whether users are to drop cookies of rollouts that are over.
func (in Intent) Expires() bool {
	return in.Expired != nil && in.Split.Canary == 0 && !in.Split.Audience
}

// OwnerRef returns the controller owner reference to the intent's Canary.
func (in Intent) OwnerRef() metav1.OwnerReference {
	return *metav1.NewControllerRef(in.Owner, siskinv1.GroupVersion.WithKind("Canary"))
}
