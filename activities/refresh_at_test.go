package activities_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/milepost/milepost/activities"
	"github.com/milepost/milepost/db"
)

const (
	families = 10_000
	life     = 2 * time.Hour
)

// issued is a pair that was issued at noon.
func issued(tokenID, generation int64, smartcarVehicleID string) db.TokenStatus {
	return db.TokenStatus{
		SmartcarVehicleID: smartcarVehicleID, TokenID: tokenID, Generation: generation,
		IssuedAt: noon(), ExpiresAt: noon().Add(life),
	}
}

func ownVehicle(number int64) string { return fmt.Sprintf("a4c1b7d2-8e0f-4b6a-9f3d-%012x", number) }

// fleets are ways in which many families come to have pairs that were issued in one moment.
func fleets() map[string]func(number int64) db.TokenStatus {
	return map[string]func(number int64) db.TokenStatus{
		"families that were connected together": func(number int64) db.TokenStatus {
			return issued(number, 1, ownVehicle(number))
		},
		"families that came back together after a year": func(number int64) db.TokenStatus {
			return issued(1_000_000+number, 5_000, ownVehicle(number))
		},
		"one family over its generations": func(number int64) db.TokenStatus {
			return issued(7, number, ownVehicle(7))
		},
		"families of one vehicle's namesakes": func(number int64) db.TokenStatus {
			return issued(number, number%3, "vehicle")
		},
	}
}

// requireEven says that no slice of one per cent of the span holds more than twice its share.
func requireEven(t *testing.T, moments []time.Time, earliest time.Time, span time.Duration) {
	t.Helper()
	const slices = 100
	var held [slices]int
	for _, moment := range moments {
		offset := moment.Sub(earliest)
		require.GreaterOrEqual(t, offset, time.Duration(0))
		require.Less(t, offset, span)
		held[int(offset*slices/span)]++
	}
	for slice, number := range held {
		require.LessOrEqual(t, number, 2*len(moments)/slices, "per cent %d of the span", slice)
	}
	// Between the margins, where the vehicles of a family are kept apart, none is nearly empty either.
	for slice := 10; slice < slices-10; slice++ {
		require.GreaterOrEqual(t, held[slice], len(moments)/slices/2, "per cent %d of the span", slice)
	}
}

func TestTheRefreshesOfAFleetAreSpreadEvenlyOverTheTokensLife(t *testing.T) {
	t.Parallel()
	for name, family := range fleets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			moments := make([]time.Time, families)
			for i := range moments {
				moments[i] = activities.RefreshAt(family(int64(i)), activities.RefreshProactively)
			}
			requireEven(t, moments, noon().Add(life/2), life*4/10)
		})
	}
}

func TestTheRefreshesOfAFleetThatIsKeptAliveAreSpreadEvenlyOverADay(t *testing.T) {
	t.Parallel()
	for name, family := range fleets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			moments := make([]time.Time, families)
			for i := range moments {
				moments[i] = activities.RefreshAt(family(int64(i)), activities.RefreshToKeepAlive)
			}
			requireEven(t, moments, noon().AddDate(0, 0, 6), 25*time.Hour)
		})
	}
}

func TestAskingAgainForTheSamePairGivesTheSameMoment(t *testing.T) {
	t.Parallel()
	for _, refreshing := range []activities.Refreshing{activities.RefreshProactively, activities.RefreshToKeepAlive} {
		t.Run(string(refreshing), func(t *testing.T) {
			t.Parallel()
			for i := range int64(100) {
				status := issued(i, i, ownVehicle(i))
				first := activities.RefreshAt(status, refreshing)
				// What changes while a pair stays the same does not move its moment.
				status.LastError, status.State = "smartcar_unavailable", db.StateReauthRequired
				require.Equal(t, first, activities.RefreshAt(status, refreshing))
			}
		})
	}
}

func TestTheNextPairIsDueAtAnotherPartOfItsLife(t *testing.T) {
	t.Parallel()
	moved := 0
	for i := range int64(100) {
		first := activities.RefreshAt(issued(i, 1, ownVehicle(i)), activities.RefreshProactively)
		next := activities.RefreshAt(issued(i, 2, ownVehicle(i)), activities.RefreshProactively)
		if first.Sub(next).Abs() > life/100 {
			moved++
		}
	}
	require.Greater(t, moved, 80, "families that were in step once are not so for ever")
}

func TestTheVehiclesOfAFamilyAreDueShortlyAfterOneAnother(t *testing.T) {
	t.Parallel()
	for refreshing, spread := range map[activities.Refreshing]time.Duration{
		activities.RefreshProactively: life * 2 / 100,
		activities.RefreshToKeepAlive: time.Hour,
	} {
		t.Run(string(refreshing), func(t *testing.T) {
			t.Parallel()
			const vehicles = 20
			for family := range int64(500) {
				moments := map[time.Time]bool{}
				earliest, latest := noon().AddDate(1, 0, 0), time.Time{}
				for vehicle := range int64(vehicles) {
					moment := activities.RefreshAt(issued(family, 3, ownVehicle(vehicle)), refreshing)
					moments[moment] = true
					if moment.Before(earliest) {
						earliest = moment
					}
					if moment.After(latest) {
						latest = moment
					}
				}
				require.Less(t, latest.Sub(earliest), spread)
				require.Len(t, moments, vehicles, "and not all at once")
			}
		})
	}
}
