"""Words of keys and values that tell people's data from a shop's, in many languages: data only.

Accents are dropped and compound words closed, as ``personal_keys.split_words`` leaves them.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of a value, the words of a key joined: ``order_id`` is ``orderid``.

KEPT = _words("""
    contentid contentids currency fbc fbclid fbp itemid itemids itemnumber orderid
    productid productids sku skus variant variantid variantids
    """)

# By the last word.
NUMERIC = _words("""
    amount article artikelnummer asin at barcode campaign code count date datetime ean
    etag expires gclid gtin guid id ids isbn model modelo modele modell mpn no nr num
    number oem part price qty quantity range ref reference revenue serial size time
    timestamp total ts upc uuid value version vin weight
    """)

# Things are described, with their numbers.
LABELS = _words("""
    badge beschreibung bezeichnung brand category categories collection color colour
    compatibility compatible description dimension dimensions edition farbe feature
    features headline keyword keywords label labels material measure measurements name
    names nom nombre nome produkt query search searchstring series spec specs style
    subtitle tag tags term title titel titre titulo titolo tytul
    """)

# The address of a page.
PAGES = _words("""
    currenturl eventsourceurl href landing landingpage landingurl link location page
    pagelocation pageurl permalink referer referrer referrerurl redirect redirecturl
    sourceurl uri url
    """)

TEXT_NAMES = _words("""
    email emailaddress mailaddress emailaddr mailadresse emailadresse courriel
    adressemail correo correoelectronico epost indirizzoemail firstname fname lastname
    lname middlename mname maidenname surname forename givenname familyname fullname
    realname legalname username nameoncard cardholder cardholdername accountholder
    contactname vorname nachname familienname kontaktperson ansprechpartner prenom
    nomdefamille nomcomplet apellido apellidos nombrecompleto cognome nomecompleto
    sobrenome apelido voornaam achternaam volledigenaam imie nazwisko imienazwisko
    imieinazwisko fornamn efternamn fornavn etternavn efternavn etunimi sukunimi 氏名 お名前
    名前 姓名 メール メールアドレス имя фамилия отчество фио password passwd pwd passphrase passcode
    passwort kennwort motdepasse contrasena wachtwoord haslo secret clientsecret
    secretkey privatekey apikey accesskey accesstoken refreshtoken idtoken authtoken
    bearertoken resettoken authorization credentials jwt sessionid securityanswer
    ipaddress ipaddr clientip remoteip remoteaddr religion ethnicity sexualorientation
    maritalstatus diagnosis medicalcondition
    """)
ANY_NAMES = _words("""
    ssn socialsecurity socialsecuritynumber nationalid nationalidnumber
    nationalinsurance nationalinsurancenumber nino taxid passport passportnumber
    passportno identitynumber idcardnumber personalid personalnumber personnummer
    driverlicense driverslicense drivinglicence driverlicensenumber driverslicensenumber
    codicefiscale aadhaar aadhaarnumber cpf curp dni nif bsn insee pesel steuerid iban
    bankaccount bankaccountnumber accountnumber creditscore cvv cvc otp
    """)
BIRTH_NAMES = _words("""
    birthday bday birthdate dateofbirth dob birthyear yearofbirth geburtsdatum
    geburtstag datenaissance datedenaissance fechanacimiento fechadenacimiento
    datanascita datadinascita datanascimento datadenascimento geboortedatum
    dataurodzenia fodselsdato fodelsedatum 生年月日 誕生日
    """)
PHONE_NAMES = _words("""
    phone phonenumber phoneno mobile mobilephone mobilenumber mobileno cellphone
    cellnumber cell homephone workphone telephone telephonenumber telephoneno tel
    telefon telefonnummer telefono telefone telefoonnummer telefoon telefonszam handy
    handynummer mobil mobilnummer mobilfunk festnetz portable telephoneportable movil
    celular telefonomovil cellulare telemovel mobiel gsm komorka telefonkomorkowy
    numertelefonu fax faxnumber whatsapp whatsappnumber msisdn 電話 電話番号 携帯 携帯電話 телефон
    """)
CARD_NAMES = _words("""
    creditcard creditcardnumber debitcard debitcardnumber cardnumber cardno ccnumber
    kartennummer kreditkarte
    """)
HOME_NAMES = _words("""
    addr address addresses street streetaddress streetname addressline strasse hausnr
    hausnummer housenumber adresse anschrift direccion indirizzo endereco adres straat
    huisnummer calle rue via ulica 住所
    """)
SEX_NAMES = _words("gender sex geschlecht sexe sexo sesso geslacht plec 性別")
ZIP_NAMES = _words("""
    zip zipcode postcode pincode plz postleitzahl codigopostal codepostal kodpocztowy
    cep 郵便番号
    """)
PERSON_NAMES = _words("""
    name names nom nombre nome naam nazwa namn navn initials nickname displayname
    nationality 姓 名
    """)
PART_NAMES = _words("first last given family middle attn attention vname nname")  # of a person
PLACE_NAMES = _words("""
    city town suburb postalcode latitude longitude lat lng lon ct st zp db ge ort stadt
    ville ciudad citta cidade stad miasto 市区町村
    """)

# Who or what an object is about: its key, or the last word of it that says so.

PEOPLE = _words("""
    addressee applicant attendee baby buyer cardholder child client consignee contact
    contactperson customer employee friend guest holder kid manager member owner
    participant passenger patient payer person profile purchaser recipient registrant
    sender shopper student subscriber traits traveler traveller user visitor doctor
    teacher spouse kunde kunden kundin kaeufer kaufer kauferin besteller bestellerin
    empfaenger empfanger empfangerin gast benutzer teilnehmer reisender mitglied
    acheteur destinataire utilisateur voyageur cliente clienta comprador compradora
    destinatario destinataria usuario viajero pasajero acquirente utente viaggiatore
    passeggero klant koper ontvanger gebruiker reiziger klient klientka kupujacy
    odbiorca uzytkownik utilizador viajante kund mottagare mottaker asiakas 顧客 お客様 購入者
    受取人 клиент покупатель получатель
    """)
# Of these, what stands behind the name of a value: ``telefono_cliente``.
NAMED_LAST = _words("""
    cliente clienta comprador compradora destinatario destinataria usuario viajero
    pasajero acheteur destinataire utilisateur voyageur acquirente utente viaggiatore
    utilizador klienta kupujacego odbiorcy
    """)
# Persons and their places that are written together with the name of a value: ``Kundenname``.
PREFIXES = """
    billing buyer client contact customer guest recipient shipping user
    besteller benutzer empfaenger empfanger kaeufer kaufer kunden liefer rechnungs
    """.split()
# Of these a text is a name, however it is written.
ALWAYS_NAMED = _words("""
    addressee cardholder consignee contactperson passenger payer recipient empfanger
    empfangerin destinataire destinatario destinataria ontvanger odbiorca
    """)
PLACES = _words("""
    billing invoice shipping shipto billto soldto deliverto rechnung rechnungs
    rechnungsadresse liefer lieferadresse facturation facturacion fatturazione factuur
    faktura faturamento
    """)
THINGS = _words("""
    animal article artikel attribute brand campaign car cart cat category collection
    content destination dog event facet file filter gato group haustier horse hund item
    kitten line listing mac mascota membership option origin page perro pet plan produit
    produkt prodotto product producto produto program property puppy segment spec
    specification subscription target tier url variant vehicle wallet web 商品
    """)
# Of things, those that people call and visit.
VENUES = _words("""
    airport branch business clinic company dealer dealership filiale geschaft hotel
    location loja magasin merchant negozio office organization pickup praxis restaurant
    salon seller shop showroom sklep store tienda vendor venue warehouse winkel 店舗
    """)
# Things that are called up.
DESKS = _words("helpdesk helpline hotline kundendienst service support")

# Words that make a text under ``customer`` or ``shipping_name`` something else than a name.
NO_NAMES = _words("""
    abandoner active dormant fashion hunter lover opportunist segment vegan
    a ab about account ag all attention big cannot champions hibernating lose lost
    loyalist need promising risk sleep spender amazon and anonymous any app apple at
    available b2b b2c basic bc bestandskunde business bv by calls chat checkout chrome
    club co collect common company consumer contact corp courier credit customer
    customers customized dark data day days debit default delivery desk dhl direct dpd
    drop dry economy edge email enterprise existing express family fast fedex fest
    fields first flat form free freight frequent friend from gift gls gmbh gold google
    ground group guest guests hair high home house in inc inactive individual
    international internet is junior kg large letter level light list live local logged
    loyal ltd llc low loyalty mail mailbox manual medium member members mobile multiple
    my new newsletter next no none normal not nouveau novo nuevo nuovo of office oily
    old on one online only or order other out overnight oy parcel partner pay paypal
    phone pick pickup platinum plus point post postal potential premium priority private
    pro prime public rate recurring regular registered relay repeat reseller returning
    royal saver sa same self senior sensitive service services shipping shop signup
    silver single skin sl slow small special srl standard store student support system
    table team test the tier time to tracked traffic trial two type unknown up ups user
    users usps vip visit visitor web wholesale with without work worker yes your yet
    abholung bestehender firma firmenkunde gewerblich geschaftskunde kunde kostenlos
    lieferung neu neukunde neuer paket privat privatkunde sendung stammkunde versand
    client nouvelle entreprise livraison envoi colis domicile retrait particulier
    professionnel cliente envio empresa entrega domicilio gratis particular recogida
    tienda urgente spedizione consegna corriere azienda privato gratuita ritiro postnl
    pakket inpost bpost correos mondial chronopost colissimo brt sda poste poczta hermes
    evri royalmail auspost canadapost seur nacex mrw klant zakelijk bezorging verzending
    afhalen nieuwe bestaande klient nowy staly przesylka kurier paczkomat odbior dostawa
    frete gratuito retirada loja
    """)
CJK_NO_NAMES = frozenset("客会員新規者店達配送便宅急")
PARTICLES = _words(
    "al bin da de del della den der di do dos du e el la las le los ter van von y zu"
)
