package routertest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func TestRegistry(t *testing.T) {
	reg := router.Registry{routertest.NewFake(router.Capabilities{}).Registration()}
	c := routertest.NewClient(t)
	for _, name := range reg.Names() {
		if r, err := reg.New(name, c, c); err != nil || r == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := reg.New("istoi", c, c)
	if refused, ok := errors.AsType[*router.InvalidError](err); !ok || refused.Field != "spec.provider" {
		t.Errorf("an unknown provider gives %v", err)
	}
}

func TestFake(t *testing.T) {
	ctx := t.Context()
	in := routertest.Intent(routertest.Canary("aviary"))
	in.Split = router.Split{Primary: 90, Canary: 10}
	f := routertest.NewFake(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted})
	boom := errors.New("boom")
	f.FailNext("Apply", boom)
	if _, err := f.Apply(ctx, in); !errors.Is(err, boom) {
		t.Fatalf("Apply: %v", err)
	}
	f.AcceptAfter(2)
	if _, err := f.Apply(ctx, in); err != nil {
		t.Fatal(err)
	}
	var got []router.Evidence
	for range 4 {
		got = append(got, observe(ctx, t, f, in).Evidence)
		if _, err := f.Apply(ctx, in); err != nil { // Repeating it does not start the wait anew.
			t.Fatal(err)
		}
	}
	want := [4]router.Evidence{router.EvidenceWritten, router.EvidenceWritten, router.EvidenceAccepted, router.EvidenceAccepted}
	if [4]router.Evidence(got) != want {
		t.Errorf("evidence %v", got)
	}
	f.Refuse("UnsupportedValue", "no")
	if obs := observe(ctx, t, f, in); !obs.Rejected || obs.Evidence != router.EvidenceWritten {
		t.Errorf("refused: %+v", obs)
	}
	f.Relent()
	f.Revert("aviary/finch", router.Split{Primary: 100})
	if obs := observe(ctx, t, f, in); obs.Evidence != router.EvidenceNone || obs.Current.Primary != 100 {
		t.Errorf("reverted: %+v", obs)
	}
	if err := f.Release(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Split("aviary/finch"); ok || len(f.Calls()) != 13 {
		t.Errorf("after Release: %d calls", len(f.Calls()))
	}
}

// The faults that a data plane has, with all that a split may ask.
func TestFakeFaults(t *testing.T) {
	ctx := t.Context()
	const app = "aviary/finch"
	in := routertest.Intent(routertest.Canary("aviary"))
	in.Split = router.Split{Primary: 70, Canary: 30, Mirror: 10, Audience: true}
	in.Audience, in.Affinity = routertest.Audience(), routertest.Affinity()
	f := routertest.NewFake(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights), Ceiling: router.EvidenceAccepted})
	if all := router.AllFeatures(); !slices.Equal(in.Needs(), all) {
		t.Errorf("it needs %v, not %v", in.Needs(), all)
	}
	for _, lack := range router.AllFeatures() {
		f.SetCapabilities(router.Capabilities{Features: router.Every(router.Yes).With(router.No, lack), Ceiling: router.EvidenceAccepted})
		_, err := f.Apply(ctx, in)
		if refused, ok := errors.AsType[*router.InvalidError](err); !ok || !strings.Contains(refused.Message, "cannot "+lack.String()+": ") {
			t.Errorf("a router that cannot %s: %v", lack, err)
		}
	}
	f.SetCapabilities(router.Capabilities{Features: router.Every(router.Yes), Ceiling: router.EvidenceAccepted})
	apply := func(want router.Receipt) {
		t.Helper()
		receipt, err := f.Apply(ctx, in)
		receipt.Object = ""
		if err != nil || receipt != want {
			t.Errorf("receipt %+v, not %+v (%v)", receipt, want, err)
		}
	}
	apply(router.Receipt{Changed: true})
	apply(router.Receipt{})
	f.AcceptPartly("of two gateways one answered")
	if obs := observe(ctx, t, f, in); obs.Evidence != router.EvidenceWritten || obs.Rejected || obs.Message == "" {
		t.Errorf("partly accepted: %+v", obs)
	}
	f.Relent()
	if obs := observe(ctx, t, f, in); obs.Evidence != router.EvidenceAccepted || obs.Current != in.Split {
		t.Errorf("accepted: %+v", obs)
	}
	in.Affinity = new(*in.Affinity)
	in.Affinity.Token = "another"
	if obs := observe(ctx, t, f, in); obs.Evidence != router.EvidenceNone || obs.Current != in.Split {
		t.Errorf("other cookies: %+v", obs)
	}
	f.Fight(app, "flux", router.Split{Canary: 100}, 2)
	apply(router.Receipt{Changed: true})
	apply(router.Receipt{Changed: true, Foreign: true, By: "flux"})
	apply(router.Receipt{Changed: true, Foreign: true, By: "flux"})
	apply(router.Receipt{})
	f.Revert(app, router.Split{Primary: 100})
	apply(router.Receipt{Changed: true, Foreign: true, By: "somebody-else"})
	f.Invalidate("spec.service.hosts", "no")
	if err := f.Validate(in); err == nil {
		t.Error("valid")
	}
	f.Invalidate("", "")
	if err := f.Validate(in); err != nil {
		t.Error(err)
	}
}

func observe(ctx context.Context, t *testing.T, r router.Router, in router.Intent) router.Observation {
	t.Helper()
	obs, err := r.Observe(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return obs
}
