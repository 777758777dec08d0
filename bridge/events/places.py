"""Names of countries and of states in the US and Canada, with the codes Meta wants: data only.

Names are written as they are looked up: lower-case letters ``a`` to ``z`` without accents, nothing
between them. An entry is the two-letter code, for a country its three-letter code, then names.

Source: ISO 3166-1 and the US and Canadian parts of ISO 3166-2; ``xk`` for Kosovo: the European
Union's, until ISO has one; everyday and native names are our own additions.
"""

from __future__ import annotations

_COUNTRIES = """
ad and andorra; ae are unitedarabemirates uae emirates; af afg afghanistan; ag atg
antiguaandbarbuda antigua; ai aia anguilla; al alb albania; am arm armenia; ao ago angola; aq ata
antarctica; ar arg argentina; as asm americansamoa; at aut austria osterreich oesterreich; au aus
australia; aw abw aruba; ax ala alandislands aland; az aze azerbaijan; ba bih bosniaandherzegovina
bosnia bosniaherzegovina; bb brb barbados; bd bgd bangladesh; be bel belgium belgie belgique
belgien; bf bfa burkinafaso; bg bgr bulgaria; bh bhr bahrain; bi bdi burundi; bj ben benin; bl blm
saintbarthelemy stbarthelemy stbarts; bm bmu bermuda; bn brn bruneidarussalam brunei; bo bol
boliviaplurinationalstateof plurinationalstateofbolivia bolivia; bq bes bonairesinteustatiusandsaba
bonaire caribbeannetherlands; br bra brazil brasil; bs bhs bahamas thebahamas; bt btn bhutan; bv
bvt bouvetisland; bw bwa botswana; by blr belarus; bz blz belize; ca can canada; cc cck
cocosislands cocoskeelingislands keelingislands; cd cod congothedemocraticrepublicofthe
thedemocraticrepublicofthecongo drc drcongo democraticrepublicofcongo democraticrepublicofthecongo
congokinshasa; cf caf centralafricanrepublic; cg cog congo republicofthecongo congobrazzaville; ch
che switzerland schweiz suisse svizzera; ci civ cotedivoire ivorycoast; ck cok cookislands; cl chl
chile; cm cmr cameroon; cn chn china peoplesrepublicofchina prc; co col colombia; cr cri costarica;
cu cub cuba; cv cpv caboverde capeverde; cw cuw curacao; cx cxr christmasisland; cy cyp cyprus; cz
cze czechia czechrepublic cesko; de deu germany deutschland allemagne alemania; dj dji djibouti; dk
dnk denmark danmark; dm dma dominica; do dom dominicanrepublic; dz dza algeria; ec ecu ecuador; ee
est estonia; eg egy egypt; eh esh westernsahara; er eri eritrea; es esp spain espana espagne
spanien; et eth ethiopia; fi fin finland suomi; fj fji fiji; fk flk falklandislands
falklandislandsmalvinas falklands; fm fsm micronesiafederatedstatesof federatedstatesofmicronesia
micronesia; fo fro faroeislands faeroeislands; fr fra france frankreich francia; ga gab gabon; gb
gbr unitedkingdom uk greatbritain britain england scotland wales northernireland
unitedkingdomofgreatbritainandnorthernireland; gd grd grenada; ge geo georgia; gf guf frenchguiana;
gg ggy guernsey; gh gha ghana; gi gib gibraltar; gl grl greenland; gm gmb gambia thegambia; gn gin
guinea; gp glp guadeloupe; gq gnq equatorialguinea; gr grc greece hellas; gs sgs
southgeorgiaandthesouthsandwichislands southgeorgia; gt gtm guatemala; gu gum guam; gw gnb
guineabissau; gy guy guyana; hk hkg hongkong hongkongsar; hm hmd heardislandandmcdonaldislands; hn
hnd honduras; hr hrv croatia hrvatska; ht hti haiti; hu hun hungary magyarorszag; id idn indonesia;
ie irl ireland republicofireland eire; il isr israel; im imn isleofman; in ind india; io iot
britishindianoceanterritory; iq irq iraq; ir irn iranislamicrepublicof islamicrepublicofiran iran;
is isl iceland; it ita italy italia italie italien; je jey jersey; jm jam jamaica; jo jor jordan;
jp jpn japan nippon nihon; ke ken kenya; kg kgz kyrgyzstan; kh khm cambodia; ki kir kiribati; km
com comoros; kn kna saintkittsandnevis stkittsandnevis; kp prk koreademocraticpeoplesrepublicof
democraticpeoplesrepublicofkorea northkorea dprk; kr kor korearepublicof republicofkorea southkorea
korea; kw kwt kuwait; ky cym caymanislands; kz kaz kazakhstan; la lao laopeoplesdemocraticrepublic
laos; lb lbn lebanon; lc lca saintlucia stlucia; li lie liechtenstein; lk lka srilanka; lr lbr
liberia; ls lso lesotho; lt ltu lithuania; lu lux luxembourg luxemburg; lv lva latvia; ly lby
libya; ma mar morocco; mc mco monaco; md mda moldovarepublicof republicofmoldova moldova; me mne
montenegro; mf maf saintmartin saintmartinfrenchpart stmartin; mg mdg madagascar; mh mhl
marshallislands; mk mkd northmacedonia macedonia fyrom; ml mli mali; mm mmr myanmar burma; mn mng
mongolia; mo mac macao macau; mp mnp northernmarianaislands; mq mtq martinique; mr mrt mauritania;
ms msr montserrat; mt mlt malta; mu mus mauritius; mv mdv maldives; mw mwi malawi; mx mex mexico
mejico; my mys malaysia; mz moz mozambique; na nam namibia; nc ncl newcaledonia; ne ner niger; nf
nfk norfolkisland; ng nga nigeria; ni nic nicaragua; nl nld netherlands holland thenetherlands
nederland; no nor norway norge; np npl nepal; nr nru nauru; nu niu niue; nz nzl newzealand
aotearoa; om omn oman; pa pan panama; pe per peru; pf pyf frenchpolynesia; pg png papuanewguinea;
ph phl philippines thephilippines; pk pak pakistan; pl pol poland polska; pm spm
saintpierreandmiquelon stpierreandmiquelon; pn pcn pitcairn pitcairnislands; pr pri puertorico; ps
pse palestinestateof stateofpalestine palestine; pt prt portugal; pw plw palau; py pry paraguay; qa
qat qatar; re reu reunion; ro rou romania; rs srb serbia; ru rus russianfederation russia; rw rwa
rwanda; sa sau saudiarabia ksa; sb slb solomonislands; sc syc seychelles; sd sdn sudan; se swe
sweden sverige; sg sgp singapore; sh shn sainthelenaascensionandtristandacunha sainthelena
sthelena; si svn slovenia; sj sjm svalbardandjanmayen svalbard; sk svk slovakia; sl sle
sierraleone; sm smr sanmarino; sn sen senegal; so som somalia; sr sur suriname; ss ssd southsudan;
st stp saotomeandprincipe saotome; sv slv elsalvador; sx sxm sintmaarten sintmaartendutchpart
stmaarten; sy syr syrianarabrepublic syria; sz swz eswatini swaziland; tc tca turksandcaicosislands
turksandcaicos; td tcd chad; tf atf frenchsouthernterritories; tg tgo togo; th tha thailand; tj tjk
tajikistan; tk tkl tokelau; tl tls timorleste easttimor; tm tkm turkmenistan; tn tun tunisia; to
ton tonga; tr tur turkiye turkey; tt tto trinidadandtobago trinidad; tv tuv tuvalu; tw twn
taiwanprovinceofchina provinceofchinataiwan taiwan; tz tza tanzaniaunitedrepublicof
unitedrepublicoftanzania tanzania; ua ukr ukraine; ug uga uganda; um umi
unitedstatesminoroutlyingislands; us usa unitedstates unitedstatesofamerica theunitedstates america
estadosunidos etatsunis vereinigtestaaten; uy ury uruguay; uz uzb uzbekistan; va vat holysee
holyseevaticancitystate vatican vaticancity; vc vct saintvincentandthegrenadines
stvincentandthegrenadines stvincent; ve ven venezuelabolivarianrepublicof
bolivarianrepublicofvenezuela venezuela; vg vgb virginislandsbritish britishvirginislands; vi vir
virginislandsus usvirginislands virginislands; vn vnm vietnam; vu vut vanuatu; wf wlf
wallisandfutuna wallisandfutunaislands; ws wsm samoa; xk xkx kosovo kosova; ye yem yemen; yt myt
mayotte; za zaf southafrica rsa; zm zmb zambia; zw zwe zimbabwe;
"""

# States, the federal district and the territories that have a two-letter ANSI code.
_US_STATES = """
ak alaska; al alabama; ar arkansas; as americansamoa; az arizona; ca california; co colorado; ct
connecticut; dc districtofcolumbia washingtondc; de delaware; fl florida; ga georgia; gu guam; hi
hawaii; ia iowa; id idaho; il illinois; in indiana; ks kansas; ky kentucky; la louisiana; ma
massachusetts; md maryland; me maine; mi michigan; mn minnesota; mo missouri; mp
northernmarianaislands; ms mississippi; mt montana; nc northcarolina; nd northdakota; ne nebraska;
nh newhampshire; nj newjersey; nm newmexico; nv nevada; ny newyork; oh ohio; ok oklahoma; or
oregon; pa pennsylvania; pr puertorico; ri rhodeisland; sc southcarolina; sd southdakota; tn
tennessee; tx texas; ut utah; va virginia; vi usvirginislands virginislands virginislandsus; vt
vermont; wa washington; wi wisconsin; wv westvirginia; wy wyoming;
"""

_PROVINCES = """
ab alberta; bc britishcolumbia colombiebritannique; mb manitoba; nb newbrunswick nouveaubrunswick;
nl newfoundlandandlabrador newfoundland terreneuveetlabrador terreneuve; ns novascotia
nouvelleecosse; nt northwestterritories territoiresdunordouest; nu nunavut; on ontario; pe
princeedwardisland ileduprinceedouard; qc quebec; sk saskatchewan; yt yukon yukonterritory;
"""

# Where a date without its month's name begins with the month, and where people do both.
MONTH_FIRST = frozenset({"us", "as", "fm", "gu", "mh", "mp", "pr", "pw", "um", "vi"})
UNDECIDED = frozenset({"ca", "ph"})


def _codes_by_name(entries: str) -> dict[str, str]:
    """Return the code for each name, and for the code itself."""
    table = {}
    for entry in filter(str.strip, entries.split(";")):
        code, *names = entry.split()
        table.update(dict.fromkeys([code, *names], code))
    return table


COUNTRIES = _codes_by_name(_COUNTRIES)
US_STATES = _codes_by_name(_US_STATES)
PROVINCES = _codes_by_name(_PROVINCES)
STATES = PROVINCES | US_STATES
