// Package routertest is what every router has to pass, and what tests of the engine use in a router's place.
package routertest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Harness is one router in a fresh world: the Services of Intent exist, traffic is where it was before Siskin came.
type Harness struct {
	// Client reads and writes that world directly: the fake one, or that of a real API server.
	Client client.Client
	// New makes the router.
	New router.Constructor
	// Intent to carry out; its Split is set by the suite.
	Intent router.Intent
	// Object is an empty object of the kind that states the split, and Name its name; "": that of the apex.
	Object client.Object
	Name   string
	// Adopted tells that Object is there before the router and is restored by Release; else Release deletes it.
	Adopted bool
	// Generates tells that an adopted Object that is deleted is made anew by the router.
	Generates bool
	// Accept plays the data plane: it confirms Object as it is now.
	Accept func(ctx context.Context, in router.Intent) error
	// Revert plays a foreign writer: it makes obj state another split than the intent's.
	Revert func(obj client.Object, in router.Intent)
	// Tamper plays a foreign writer who leaves Siskin's marks in place, as a GitOps tool does.
	Tamper func(obj client.Object, in router.Intent)
	// Limit makes the data plane able to do nothing but weights; nil if it never can do more.
	Limit func(t *testing.T)
	// Weights reads the raw shares of obj, rule by rule; nil if it has none.
	Weights func(obj client.Object, in router.Intent) [][]int32
	// Reaches tells whether obj leads any request to the canary, or a copy of one.
	Reaches func(obj client.Object, in router.Intent) bool
	// Spec returns the part of obj that Release has to restore exactly.
	Spec func(obj client.Object) any
}

// suite is one run of a case.
type suite struct {
	Harness
	*testing.T
	counter *Counter
	router  router.Router
}

// RunContract runs the contract of the interface Router. build is called once for every case.
func RunContract(t *testing.T, build func(t *testing.T) Harness) {
	t.Helper()
	cases := map[string]func(*suite){
		"SetAndReadBack":         setAndReadBack,
		"SecondApplyWritesNone":  secondApplyWritesNone,
		"ForeignFieldsKept":      foreignFieldsKept,
		"DriftSeenAndRepaired":   driftSeenAndRepaired,
		"DeletedObjectIsRemade":  deletedObjectIsRemade,
		"EvidenceNeedsTheAnswer": evidenceNeedsTheAnswer,
		"StaleAnswer":            staleAnswer,
		"InvalidSplitRefused":    invalidSplitRefused,
		"ErrorsAreTyped":         errorsAreTyped,
		"ReleaseRestores":        releaseRestores,
		"OrphanLeavesAll":        orphanLeavesAll,
		"GoneWithoutAWord":       goneWithoutAWord,
		"ObserveNeverWrites":     observeNeverWrites,
		"IntentIsNotChanged":     intentIsNotChanged,
		"StrategiesReadBack":     strategiesReadBack,
		"StrategiesAreTakenOut":  strategiesAreTakenOut,
		"TokensAreWritten":       tokensAreWritten,
		"ImpossibleIsRefused":    impossibleIsRefused,
		"ReceiptsTell":           receiptsTell,
		"ForeignWriterIsTold":    foreignWriterIsTold,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			h := build(t)
			counter := &Counter{Client: h.Client}
			run(&suite{Harness: h, T: t, counter: counter, router: h.New(counter, counter)})
		})
	}
}

// splits that the router can do, in an order that visits both ends twice.
func (s *suite) splits() []router.Split {
	if s.caps().Features.Can(router.FeatureWeights) {
		return []router.Split{{Primary: 100}, {Primary: 99, Canary: 1}, {Primary: 50, Canary: 50}, {Canary: 100}, {Primary: 100}}
	}
	return []router.Split{{Primary: 100}, {Canary: 100}, {Primary: 100}}
}

func (s *suite) caps() router.Capabilities { return s.router.Capabilities(s.Context(), s.Intent.Owner) }

func (s *suite) intent(split router.Split) router.Intent {
	in := s.Intent
	in.Split = split
	return in
}

func (s *suite) apply(split router.Split) {
	s.Helper()
	if _, err := s.router.Apply(s.Context(), s.intent(split)); err != nil {
		s.Fatalf("Apply(%v): %v", split, err)
	}
	s.sum()
}

func (s *suite) observe(split router.Split) router.Observation {
	s.Helper()
	obs, err := s.router.Observe(s.Context(), s.intent(split))
	if err != nil {
		s.Fatalf("Observe(%v): %v", split, err)
	}
	if !obs.MetricsKind.Known() || obs.Counted && !obs.MetricsKind.Counted() {
		s.Fatalf("no built-in metrics are known for %q (counted: %t)", obs.MetricsKind, obs.Counted)
	}
	if obs.Evidence > s.caps().Ceiling {
		s.Fatalf("evidence %v is above the ceiling", obs.Evidence)
	}
	if obs.Evidence < s.caps().Ceiling && (obs.Reason == "" || obs.Message == "") {
		s.Fatalf("evidence %v is below the ceiling and nothing tells why: %+v", obs.Evidence, obs)
	}
	return obs
}

func (s *suite) accept(split router.Split) {
	s.Helper()
	if err := s.Accept(s.Context(), s.intent(split)); err != nil {
		s.Fatalf("playing the data plane: %v", err)
	}
}

// get reads the object that states the split; nil if there is none.
func (s *suite) get() client.Object {
	s.Helper()
	obj, ok := s.Object.DeepCopyObject().(client.Object)
	if !ok {
		s.Fatalf("%T is no object", s.Object)
	}
	err := s.Client.Get(s.Context(), client.ObjectKey{Namespace: s.Intent.Owner.Namespace, Name: cmp.Or(s.Name, s.Intent.Apex)}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.Fatalf("reading %T: %v", s.Object, err)
	}
	return obj
}

// foreign changes the object as somebody else would.
func (s *suite) foreign(edit func(client.Object)) {
	s.Helper()
	obj := s.get()
	edit(obj)
	if err := s.Client.Update(s.Context(), obj, client.FieldOwner("somebody-else")); err != nil {
		s.Fatalf("writing as somebody else: %v", err)
	}
}

// sum checks that no weights were written that are not percent.
func (s *suite) sum() {
	s.Helper()
	if s.Weights == nil {
		return
	}
	rules := s.Weights(s.get(), s.Intent)
	for i, rule := range rules {
		var sum int32
		for _, w := range rule {
			sum += w
		}
		if sum <= 0 || sum > 100 || i == len(rules)-1 && sum != 100 { // the last is for everybody
			s.Fatalf("the weights of rule %d sum to %d", i, sum)
		}
	}
}

func setAndReadBack(s *suite) {
	for _, split := range s.splits() {
		s.apply(split)
		s.accept(split)
		obs := s.observe(split)
		if !obs.Known || obs.Current != split || obs.Evidence != s.caps().Ceiling {
			s.Fatalf("after Apply(%v): %+v", split, obs)
		}
	}
}

func secondApplyWritesNone(s *suite) {
	for _, split := range s.splits() {
		s.apply(split)
		s.counter.Writes()
		before := s.get().GetResourceVersion()
		s.apply(split)
		if n := s.counter.Writes(); n != 0 {
			s.Fatalf("the second Apply(%v) wrote %d times", split, n)
		}
		if after := s.get().GetResourceVersion(); after != before {
			s.Fatalf("the second Apply(%v) changed the object", split)
		}
	}
}

func foreignFieldsKept(s *suite) {
	s.apply(router.Split{Primary: 100})
	s.foreign(func(obj client.Object) {
		obj.SetLabels(with(obj.GetLabels(), "example.org/team", "finches"))
		obj.SetAnnotations(with(obj.GetAnnotations(), "example.org/note", "mine"))
		obj.SetFinalizers(append(obj.GetFinalizers(), "example.org/held"))
	})
	s.apply(router.Split{Canary: 100})
	obj := s.get()
	if obj.GetLabels()["example.org/team"] != "finches" || obj.GetAnnotations()["example.org/note"] != "mine" || !slices.Contains(obj.GetFinalizers(), "example.org/held") {
		s.Fatalf("what somebody else wrote is gone: %v %v %v", obj.GetLabels(), obj.GetAnnotations(), obj.GetFinalizers())
	}
	s.foreign(func(obj client.Object) {
		obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(f string) bool { return f == "example.org/held" }))
	})
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func driftSeenAndRepaired(s *suite) {
	split := router.Split{Primary: 100}
	s.apply(split)
	s.accept(split)
	s.foreign(func(obj client.Object) { s.Revert(obj, s.intent(split)) })
	if obs := s.observe(split); obs.Evidence != router.EvidenceNone {
		s.Fatalf("a foreign write was not seen: %+v", obs)
	}
	s.apply(split)
	if obs := s.observe(split); obs.Evidence < router.EvidenceWritten || obs.Current != split {
		s.Fatalf("a foreign write was not repaired: %+v", obs)
	}
}

func deletedObjectIsRemade(s *suite) {
	split := router.Split{Primary: 100}
	s.apply(split)
	if err := s.Client.Delete(s.Context(), s.get()); err != nil {
		s.Fatalf("deleting: %v", err)
	}
	if obs := s.observe(split); obs.Evidence != router.EvidenceNone || obs.Known && !s.Generates {
		s.Fatalf("a deleted object was not noticed: %+v", obs)
	}
	if s.Generates {
		generatedAgain(s, split)
		return
	}
	_, err := s.router.Apply(s.Context(), s.intent(split))
	if s.Adopted {
		if !errors.Is(err, router.ErrNotFound) {
			s.Fatalf("an adopted object cannot be made anew, so Apply waits with ErrNotFound; it returned %v", err)
		}
		return
	}
	if err != nil {
		s.Fatalf("Apply after a deletion: %v", err)
	}
	if obs := s.observe(split); obs.Evidence < router.EvidenceWritten {
		s.Fatalf("a deleted object was not made anew: %+v", obs)
	}
}

// generatedAgain : what is generated takes the place of an adopted object that was deleted, in as many passes as it needs.
func generatedAgain(s *suite, split router.Split) {
	for range 10 {
		s.apply(split)
		s.accept(split)
		if s.observe(split).Evidence == s.caps().Ceiling {
			break
		}
	}
	if obs := s.observe(split); obs.Evidence != s.caps().Ceiling || obs.Current != split || !metav1.IsControlledBy(s.get(), s.Intent.Owner) {
		s.Fatalf("what was deleted is not generated: %+v %+v", obs, s.get())
	}
}

func evidenceNeedsTheAnswer(s *suite) {
	split := router.Split{Primary: 100}
	if obs := s.observe(split); obs.Evidence != router.EvidenceNone {
		s.Fatalf("evidence before anything was written: %+v", obs)
	}
	s.apply(split)
	if obs := s.observe(split); obs.Evidence != router.EvidenceWritten {
		s.Fatalf("without an answer of the data plane: %+v", obs)
	}
	s.accept(split)
	if obs := s.observe(split); obs.Evidence != s.caps().Ceiling {
		s.Fatalf("with an answer of the data plane: %+v", obs)
	}
}

func staleAnswer(s *suite) {
	s.apply(router.Split{Primary: 100})
	s.accept(router.Split{Primary: 100})
	s.apply(router.Split{Canary: 100})
	if obs := s.observe(router.Split{Canary: 100}); obs.Evidence != router.EvidenceWritten {
		s.Fatalf("the data plane confirmed the split before: %+v", obs)
	}
}

func invalidSplitRefused(s *suite) {
	s.apply(router.Split{Primary: 100})
	before := s.get().GetResourceVersion()
	bad := []router.Split{{}, {Primary: 100, Canary: 100}, {Primary: 101, Canary: -1}, {Primary: -1, Canary: 101}, {Primary: 50, Canary: 49}}
	if !s.caps().Features.Can(router.FeatureWeights) {
		bad = append(bad, router.Split{Primary: 50, Canary: 50})
	}
	for _, split := range bad {
		_, err := s.router.Apply(s.Context(), s.intent(split))
		if _, ok := errors.AsType[*router.InvalidError](err); !ok {
			s.Fatalf("Apply(%v) is not refused as an InvalidError", split)
		}
	}
	if s.get().GetResourceVersion() != before {
		s.Fatal("a refused split was written")
	}
}

func errorsAreTyped(s *suite) {
	ctx, in := s.Context(), s.intent(router.Split{Primary: 100})
	s.counter.Fail(apierrors.NewTooManyRequests("slow down", 1))
	_, observed := s.router.Observe(ctx, in)
	_, applied := s.router.Apply(ctx, in)
	for call, err := range map[string]error{
		"Apply": applied, "Observe": observed, "Release": s.router.Release(ctx, in), "Orphan": s.router.Orphan(ctx, in),
		"GiveBack": s.router.GiveBack(ctx, in),
	} {
		// What is adopted has no owner to give up, and what is generated is not given back: there may be nothing to do.
		if err == nil && (s.Adopted && call == "Orphan" || !s.Adopted && call == "GiveBack") {
			continue
		}
		if !apierrors.IsTooManyRequests(err) {
			s.Errorf("%s hides the API server's error: %v", call, err)
		}
		if _, ok := errors.AsType[*router.InvalidError](err); ok || errors.Is(err, router.ErrNotFound) {
			s.Errorf("%s turns an outage into something else: %v", call, err)
		}
	}
}

func releaseRestores(s *suite) {
	before := s.get()
	in := s.intent(router.Split{Primary: 100})
	if err := s.router.Release(s.Context(), in); err != nil {
		s.Fatalf("Release of what was never applied: %v", err)
	}
	for _, split := range s.splits() {
		s.apply(split)
	}
	for _, wide := range s.strategies() { // and what is there at the end is there when it is given back
		if _, err := s.router.Apply(s.Context(), wide); err != nil {
			s.Fatalf("Apply(%s): %v", wide.Split, err)
		}
	}
	for range 2 {
		if err := s.router.Release(s.Context(), in); err != nil {
			s.Fatalf("Release: %v", err)
		}
		after := s.get()
		if !s.Adopted {
			if after != nil {
				s.Fatal("Release left the generated object")
			}
			continue
		}
		if !equality.Semantic.DeepEqual(s.Spec(before), s.Spec(after)) ||
			!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
			!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
			!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences()) {
			s.Fatalf("Release did not restore:\nbefore %+v\nafter  %+v", before, after)
		}
		for _, entry := range after.GetManagedFields() {
			if entry.Manager == siskinv1.FieldManager {
				s.Fatalf("Release left Siskin as a field manager: %v", entry)
			}
		}
	}
}

// orphanLeavesAll : what is given up stays as it is, without an owner, and is taken back by the next Apply.
func orphanLeavesAll(s *suite) {
	split := router.Split{Canary: 100}
	in := s.intent(split)
	if err := s.router.Orphan(s.Context(), in); err != nil {
		s.Fatalf("Orphan of what was never applied: %v", err)
	}
	s.apply(split)
	s.accept(split)
	for range 2 {
		if err := s.router.Orphan(s.Context(), in); err != nil {
			s.Fatalf("Orphan: %v", err)
		}
		obj := s.get()
		if obj == nil {
			s.Fatal("Orphan deleted the object")
		}
		if metav1.IsControlledBy(obj, in.Owner) {
			s.Fatalf("it would go with the Canary: %v", obj.GetOwnerReferences())
		}
		if obs := s.observe(split); obs.Current != split || obs.Evidence != s.caps().Ceiling {
			s.Fatalf("Orphan changed the split: %+v", obs)
		}
	}
	s.counter.Writes()
	if err := s.router.Orphan(s.Context(), in); err != nil || s.counter.Writes() != 0 {
		s.Fatalf("Orphan writes when all is done: %v", err)
	}
	s.apply(split)
	if obs := s.observe(split); obs.Evidence < router.EvidenceWritten {
		s.Fatalf("what was given up is not taken back: %+v", obs)
	}
}

// goneWithoutAWord : what was adopted is restored for a Canary of which nothing but its metadata is known, and what was generated is left
// to the garbage collector.
func goneWithoutAWord(s *suite) {
	before := s.get()
	in := s.intent(router.Split{})
	in.Owner = &siskinv1.Canary{ObjectMeta: *s.Intent.Owner.ObjectMeta.DeepCopy()}
	if err := s.router.GiveBack(s.Context(), in); err != nil || s.counter.Writes() > 0 {
		s.Fatalf("GiveBack of what was never applied: %v", err)
	}
	for _, split := range s.splits()[:2] {
		s.apply(split)
	}
	s.counter.Writes()
	for range 2 {
		if err := s.router.GiveBack(s.Context(), in); err != nil {
			s.Fatalf("GiveBack: %v", err)
		}
		switch after := s.get(); {
		case !s.Adopted && s.counter.Writes() > 0:
			s.Fatal("GiveBack wrote what goes with the Canary")
		case s.Adopted && (!equality.Semantic.DeepEqual(s.Spec(before), s.Spec(after)) ||
			!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations())):
			s.Fatalf("GiveBack did not restore:\nbefore %+v\nafter  %+v", before, after)
		}
	}
}

func observeNeverWrites(s *suite) {
	s.apply(router.Split{Primary: 100})
	s.foreign(func(obj client.Object) { s.Revert(obj, s.intent(router.Split{Primary: 100})) })
	s.counter.Writes()
	s.observe(router.Split{Primary: 100})
	if n := s.counter.Writes(); n != 0 {
		s.Fatalf("Observe wrote %d times", n)
	}
}

func intentIsNotChanged(s *suite) {
	before := s.Intent.Owner.DeepCopy()
	s.apply(router.Split{Primary: 100})
	s.observe(router.Split{Primary: 100})
	if !equality.Semantic.DeepEqual(before, s.Intent.Owner) {
		s.Fatal("the router changed the Canary that it was given")
	}
}
